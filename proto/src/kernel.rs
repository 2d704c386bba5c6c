//! Inner loops that are compiled for several generations of processors; which one runs is found out
//! while running. The bits do not depend on it: nothing is fused or reassociated.

/// A function whose body is compiled for each of them. What it calls must be `#[inline(always)]`, and
/// closures will not do: what is not inlined into the entry point is compiled for the oldest processor
/// only.
macro_rules! kernel {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<'a $(, $generic:ident: $bound:ident)*>(
            $($argument:ident: $kind:ty),* $(,)?
        ) -> $output:ty $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name<'a $(, $generic: $bound)*>($($argument: $kind),*) -> $output {
            struct Kernel<'a $(, $generic: $bound)*> {
                $($argument: $kind,)*
                generics: std::marker::PhantomData<(&'a (), $($generic,)*)>,
            }

            impl<'a $(, $generic: $bound)*> pulp::NullaryFnOnce for Kernel<'a $(, $generic)*> {
                type Output = $output;

                #[inline(always)]
                fn call(self) -> Self::Output {
                    let Self { $($argument,)* .. } = self;
                    $body
                }
            }

            let generics = std::marker::PhantomData;
            pulp::Arch::new().dispatch(Kernel { $($argument,)* generics })
        }
    };
}

pub(crate) use kernel;
