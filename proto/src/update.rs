//! A site's update: what its factors have changed by, as the bytes that leave the site.

use thiserror::Error;

use crate::codec::{Accumulator, CodecError, Encoded};
use crate::plan::Plan;
use crate::tensor::{TensorError, Tensors};

impl Plan {
    /// The update that takes `before` to `after`. `seed` is the site's own and drives the rounding.
    ///
    /// With a `residual` there is error feedback (Seide et al., Interspeech 2014; Karimireddy et al.,
    /// ICML 2019): what clipping, rounding and waiting kept back of earlier updates is added to this one,
    /// and what they keep back of this one is left in its place.
    pub fn update(
        &self,
        before: &Tensors,
        after: &Tensors,
        residual: Option<&mut Tensors>,
        samples: u64,
        seed: [u8; 32],
    ) -> Result<Encoded, UpdateError> {
        before.same_layout(after)?;
        let layout = self.shapes_in(before)?;
        let mut delta = after.gather("", &layout);
        subtract(&mut delta, &before.gather("", &layout));
        if let Some(residual) = &residual {
            let kept_back = residual.gather("", &layout);
            if kept_back.len() == delta.len() {
                delta.iter_mut().zip(kept_back).for_each(|(x, more)| *x += more);
            }
        }
        let mut sent = self.select(&delta).into_owned();
        sent.extend(self.answers(after));
        let encoded = self.ring.encode(&sent, samples, seed)?;
        if let Some(residual) = residual {
            let mut received = Accumulator::new(&self.ring, sent.len())?;
            received.add(encoded.bytes.as_slice())?;
            subtract(&mut delta, &self.expand(&received.finish()?.values));
            residual.scatter("", &layout, &delta);
        }
        Ok(encoded)
    }

    /// The tensors that train, in the shapes that they have in `adapter`.
    fn shapes_in(&self, adapter: &Tensors) -> Result<Vec<(String, [usize; 2])>, TensorError> {
        let layout = self.layout().into_iter().map(|(name, wanted)| {
            match adapter.get(&name).map(|tensor| tensor.shape()) {
                Some(&[rows, columns]) => Ok((name, [rows, columns])),
                found => {
                    let found = found.map(<[usize]>::to_vec);
                    Err(TensorError::Layout { name, wanted: wanted.to_vec(), found })
                }
            }
        });
        layout.collect()
    }
}

fn subtract(values: &mut [f32], others: &[f32]) {
    values.iter_mut().zip(others).for_each(|(x, other)| *x -= other);
}

/// Why no update was made.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// Not the plan's tensors.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Numbers that cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::ServerState;
    use crate::plan::tests::plan;
    use crate::tensor::Tensor;

    /// `before` with every number that trains moved by `step`.
    fn moved(plan: &Plan, before: &Tensors, step: f32) -> Tensors {
        let mut after = before.clone();
        for (name, shape) in plan.layout() {
            let data = before.get(&name).unwrap().data().iter().map(|x| x + step).collect();
            after.insert(name, Tensor::new(shape.to_vec(), data).unwrap());
        }
        after
    }

    /// Where a lone site that moves by `step` each round is after some rounds.
    fn travel(feedback: bool, density: f32, rounds: u32, step: f32) -> (f64, usize) {
        let mut plan = plan();
        (plan.ring.top, plan.ring.ring_bits) = (7, 4);
        (plan.ring.clip, plan.density) = (0.5, density);
        let mut server = ServerState::new(plan.adapter.initial(&plan.base_shape, 1).unwrap());
        let start = server.adapter.clone();
        let mut residual = Tensors::new();
        let mut bytes = 0;
        for round in 1..=rounds {
            plan.round = round;
            let after = moved(&plan, &server.adapter, step);
            let kept = feedback.then_some(&mut residual);
            let encoded = plan.update(&server.adapter, &after, kept, 10, [round as u8; 32]);
            let encoded = encoded.unwrap();
            bytes += encoded.bytes.len();
            let mut sum = Accumulator::new(&plan.ring, plan.elements()).unwrap();
            sum.add(encoded.bytes.as_slice()).unwrap();
            server.step(&plan, &sum.finish().unwrap().values).unwrap();
        }
        // How far from where it would be without a codec, as a root mean square.
        let layout = plan.layout();
        let wanted = step * rounds as f32;
        let mut moved = server.adapter.gather("", &layout);
        subtract(&mut moved, &start.gather("", &layout));
        let squares: f64 = moved.iter().map(|x| f64::from(x - wanted).powi(2)).sum();
        ((squares / moved.len() as f64).sqrt(), bytes)
    }

    #[test]
    fn feedback_keeps_errors_from_adding_up() {
        let (with, _) = travel(true, 1.0, 40, 0.02);
        let (without, _) = travel(false, 1.0, 40, 0.02);
        // A level is 0.07; forty roundings of it wander off, one does not.
        assert!(with < 0.05 && without > 3.0 * with, "{with} {without}");
    }

    #[test]
    fn what_waits_arrives_later() {
        let (with, sparse) = travel(true, 0.25, 40, 0.02);
        let (without, _) = travel(false, 0.25, 40, 0.02);
        let (_, dense) = travel(true, 1.0, 40, 0.02);
        assert!(sparse * 7 < dense * 2, "{sparse} {dense}");
        // Without feedback three quarters of the way are lost.
        assert!(without > 0.55 && with < 0.15, "{with} {without}");
    }

    #[test]
    fn other_tensors_are_refused() {
        let plan = plan();
        let adapter = plan.adapter.initial(&plan.base_shape, 1).unwrap();
        let refused = plan.update(&adapter, &Tensors::new(), None, 1, [0; 32]).unwrap_err();
        assert!(matches!(refused, UpdateError::Tensor(_)), "{refused}");
        let empty = Tensors::new();
        let refused = plan.update(&empty, &empty, None, 1, [0; 32]).unwrap_err();
        assert!(matches!(refused, UpdateError::Tensor(TensorError::Layout { .. })), "{refused}");
    }
}
