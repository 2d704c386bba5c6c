//! Both factors of every site, module by module: summed exactly and cut (`stack`), or measured against
//! their mean (`miss`). Only possible where single updates may be seen.
//!
//! Memory is the result and one module of each site, whatever the size of the model.

mod columns;
mod miss;
mod part;
mod qr;
mod stack;
mod svd;
#[cfg(test)]
mod tests;
mod values;

use std::borrow::Cow;
use std::io::{self, Read};

use self::miss::Miss;
use self::part::Part;
use self::stack::stack;
use self::values::Values;
use super::error::RuleError;
use super::halves;
use super::packed::level;
use super::step::ServerState;
use crate::adapter::Factor;
use crate::plan::Plan;
use crate::sketch::Deviation;
use crate::tensor::{Tensor, Tensors};

/// What cutting the sum of one module back to the adapter's rank cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Discarded {
    /// The module's factor A.
    pub tensor: String,
    /// The share of the sum's squared Frobenius norm that was cut.
    pub share: f64,
}

/// What stacking did.
#[derive(Clone, Debug, PartialEq)]
pub struct Stacked {
    /// What the cut cost, module by module.
    pub discarded: Vec<Discarded>,
    /// The same over all modules, as `|dW* - B A| / |dW*|`; none when the sum is zero.
    pub deviation: Option<Deviation>,
    /// The new adapter as sites download it.
    pub halves: Vec<u8>,
}

/// The updates of one round whose sites may be seen, by their places in the roster.
pub struct Seen<'a, F> {
    /// The plan.
    pub plan: &'a Plan,
    /// Who handed in, in the order of `open`'s indices.
    pub sites: &'a [usize],
    /// Gives the bytes of the update at an index.
    pub open: F,
}

impl Plan {
    /// What a site starts from: the first ranks of the adapter, as many as the site trains.
    pub fn start(&self, site: usize, adapter: &Tensors) -> Tensors {
        let mut start = Tensors::new();
        for (name, shape) in self.layout_of(site) {
            let data = self.first_ranks(site, &name, adapter).into_owned();
            if let Ok(tensor) = Tensor::new(shape.to_vec(), data) {
                start.insert(name, tensor);
            }
        }
        // What does not train is the same for everyone.
        for (name, tensor) in adapter.iter().filter(|(name, _)| !self.factors.trains_tensor(name)) {
            start.insert(name, tensor.clone());
        }
        start
    }

    /// The part of one tensor that a site trains: rows of A, columns of B.
    fn first_ranks<'a>(&self, site: usize, name: &str, adapter: &'a Tensors) -> Cow<'a, [f32]> {
        let data = adapter.get(name).map_or(&[][..], |tensor| tensor.data());
        let (rank, whole) = (self.adapter_of(site).rank, self.adapter.rank.max(1));
        match Factor::of(name) {
            _ if rank == whole => Cow::Borrowed(data),
            Some(Factor::A) => Cow::Borrowed(data.get(..data.len() / whole * rank).unwrap_or(data)),
            _ => data.chunks(whole).flat_map(|row| row.iter().take(rank).copied()).collect(),
        }
    }
}

impl<F, R> Seen<'_, F>
where
    F: Fn(usize) -> io::Result<R>,
    R: Read,
{
    /// Makes the adapter the sum of the sites' products, cut back to its rank, in bfloat16.
    ///
    /// A site that trains fewer ranks says nothing of the others: for it, they stay as they are.
    pub fn stack(&self, server: &mut ServerState) -> Result<Stacked, RuleError> {
        let rank = self.plan.adapter.rank;
        let mut next = Tensors::new();
        let mut discarded = Vec::new();
        let mut total = Miss::default();
        let fresh = self.plan.fresh().map_err(RuleError::read)?;
        self.modules(&server.adapter, |module| {
            let mut rest = vec![1.0f64; rank];
            for part in &module.parts {
                rest.iter_mut().zip(&part.shares).for_each(|(rest, share)| *rest -= share);
            }
            let mut parts = module.parts;
            if rest.iter().any(|rest| *rest > 1e-12) {
                let shares = rest.iter().map(|rest| rest.max(0.0)).collect();
                parts.push(Part { a: module.before.0, b: module.before.1, shares });
            }
            let mut cut = stack(module.shape, &parts, rank)?;
            // A direction with nothing in either factor would never learn again: it begins anew.
            let [output, input] = module.shape;
            if let Some(new) = fresh.get(module.a) {
                let kept = cut.kept * input;
                let rows = cut.a.iter_mut().zip(new.data()).skip(kept);
                rows.for_each(|(slot, new)| *slot = *new);
            }
            let (energy, lost) = (cut.energy(), cut.discarded());
            let share = if energy > 0.0 { lost / energy } else { 0.0 };
            total = total.and(Miss { missed: lost, ideal: energy });
            discarded.push(Discarded { tensor: module.a.to_owned(), share });
            let a = Tensor::new(vec![rank, input], cut.a).map_err(RuleError::read)?;
            let b = Tensor::new(vec![output, rank], cut.b).map_err(RuleError::read)?;
            next.insert(module.a, a);
            next.insert(module.b, b);
            Ok(())
        })?;
        let halves = halves::round(self.plan, &mut next);
        server.adapter = next;
        Ok(Stacked { discarded, deviation: total.deviation(), halves })
    }

    /// How far the product of the mean factors is from the mean of the products, over all modules; `None`
    /// when the latter is zero.
    pub fn deviation(&self, server: &ServerState) -> Result<Option<Deviation>, RuleError> {
        let mut miss = Miss::default();
        self.modules(&server.adapter, |module| {
            miss = miss.and(Miss::of(module.shape, &module.parts));
            Ok(())
        })?;
        Ok(miss.deviation())
    }

    /// Hands out module by module what all sites made of it.
    fn modules(
        &self,
        before: &Tensors,
        mut each: impl FnMut(Module<'_>) -> Result<(), RuleError>,
    ) -> Result<(), RuleError> {
        let plan = self.plan;
        let ring = &plan.ring;
        let mut sites = Vec::with_capacity(self.sites.len());
        for (index, site) in self.sites.iter().enumerate() {
            let elements = plan.elements_of(*site);
            let open = || (self.open)(index).map_err(RuleError::read);
            let level = level(ring, open()?, elements)?;
            let values = Values::new(ring, open()?, elements, level, plan.places());
            sites.push((*site, values, level));
        }
        let total: f64 = sites.iter().map(|(.., level)| f64::from(*level)).sum();
        for pair in plan.adapter.layout(&plan.base_shape).as_chunks::<2>().0 {
            let [(a, [_, input]), (b, [output, _])] = pair;
            let mut factors = Vec::with_capacity(sites.len());
            for (site, values, level) in &mut sites {
                let mut trained = |name: &str| {
                    let start = plan.first_ranks(*site, name, before);
                    let mut data = values.take(start.len())?;
                    data.iter_mut().zip(start.iter()).for_each(|(x, start)| *x += start);
                    Ok::<_, RuleError>(data)
                };
                let shares = vec![f64::from(*level) / total; plan.adapter_of(*site).rank];
                factors.push((trained(a)?, trained(b)?, shares));
            }
            let part = |(a, b, shares)| Part { a, b, shares };
            let parts = factors.iter().map(|(a, b, shares)| (&a[..], &b[..], shares.clone()));
            let data = |name: &str| before.get(name).map_or(&[][..], |tensor| tensor.data());
            each(Module {
                a,
                b,
                shape: [*output, *input],
                before: (data(a), data(b)),
                parts: parts.map(part).collect(),
            })?;
        }
        Ok(())
    }
}

/// One module of every site.
struct Module<'a> {
    a: &'a str,
    b: &'a str,
    shape: [usize; 2],
    before: (&'a [f32], &'a [f32]),
    parts: Vec<Part<'a>>,
}
