//! Named f32 tensors: what an adapter is while nobody trains it.
//!
//! Iteration is in lexicographic order of the names; every byte that is hashed, encoded or
//! summed follows this order, so two programs that hold equal tensors produce equal bytes.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use thiserror::Error;

/// A dense, row-major f32 tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    /// A tensor of `shape` holding `data` row by row.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Result<Self, TensorError> {
        let wanted = elements(&shape)?;
        if wanted != data.len() {
            return Err(TensorError::Length { wanted, found: data.len() });
        }
        Ok(Self { shape, data })
    }

    /// All zeros.
    pub fn zeros(shape: Vec<usize>) -> Result<Self, TensorError> {
        let len = elements(&shape)?;
        Ok(Self { shape, data: vec![0.0; len] })
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The elements, row-major, to change in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Gives the elements away.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }
}

fn elements(shape: &[usize]) -> Result<usize, TensorError> {
    shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis)).ok_or(TensorError::Shape)
}

/// Tensors by name, in lexicographic order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(BTreeMap<String, Tensor>);

/// Names and shapes, in an order.
type Layout = [(String, [usize; 2])];

impl Tensors {
    /// No tensors yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces one tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.0.insert(name.into(), tensor);
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// The tensor called `name`, to change in place.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.0.get_mut(name)
    }

    /// Name and tensor, in lexicographic order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers there are in all of them.
    pub fn elements(&self) -> usize {
        self.0.values().map(|tensor| tensor.data.len()).sum()
    }

    /// The values of the tensors in the layout, one after the other; those that are there.
    pub(crate) fn gather(&self, prefix: &str, layout: &Layout) -> Vec<f32> {
        let named = layout.iter().filter_map(|(name, _)| self.get(&format!("{prefix}{name}")));
        named.flat_map(|tensor| tensor.data().iter().copied()).collect()
    }

    /// The inverse of [`Tensors::gather`]; tensors are made where there are none. No values change nothing.
    pub(crate) fn scatter(&mut self, prefix: &str, layout: &Layout, values: &[f32]) {
        let mut rest = values;
        for (name, shape) in layout {
            let Some((own, left)) = rest.split_at_checked(shape[0] * shape[1]) else { return };
            rest = left;
            if let Ok(tensor) = Tensor::new(shape.to_vec(), own.to_vec()) {
                self.insert(format!("{prefix}{name}"), tensor);
            }
        }
    }

    /// The same names and shapes as `other`, or which tensor differs.
    pub fn same_layout(&self, other: &Self) -> Result<(), TensorError> {
        for (name, tensor) in &self.0 {
            match other.0.get(name) {
                Some(found) if found.shape == tensor.shape => {}
                Some(found) => {
                    return Err(TensorError::Layout {
                        name: name.clone(),
                        wanted: tensor.shape.clone(),
                        found: Some(found.shape.clone()),
                    });
                }
                None => {
                    return Err(TensorError::Layout {
                        name: name.clone(),
                        wanted: tensor.shape.clone(),
                        found: None,
                    });
                }
            }
        }
        match other.0.keys().find(|name| !self.0.contains_key(*name)) {
            Some(name) => Err(TensorError::Unexpected { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// A safetensors file with the metadata PEFT writes (`{"format": "pt"}`). Deterministic.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, TensorError> {
        let bytes: Vec<(&str, &Tensor, Vec<u8>)> = self
            .iter()
            .map(|(name, tensor)| {
                (name, tensor, tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect())
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, tensor, raw)| {
                Ok((*name, TensorView::new(Dtype::F32, tensor.shape.clone(), raw)?))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads f32, f16 and bf16 tensors from the bytes of a safetensors file.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, TensorError> {
        let file = SafeTensors::deserialize(bytes)?;
        let mut tensors = Self::new();
        for (name, view) in file.tensors() {
            let data = to_f32(view.dtype(), view.data())
                .ok_or_else(|| TensorError::Dtype { name: name.clone(), dtype: view.dtype() })?;
            tensors.insert(name, Tensor::new(view.shape().to_vec(), data)?);
        }
        Ok(tensors)
    }
}

impl FromIterator<(String, Tensor)> for Tensors {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

/// Widens the bytes of a safetensors tensor to f32; `None` for an integer or 8-bit type.
pub fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => {
            Some(bytes.as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect())
        }
        Dtype::BF16 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|raw| half::bf16::from_bits(u16::from_le_bytes(*raw)).to_f32())
                .collect(),
        ),
        Dtype::F16 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|raw| half::f16::from_bits(u16::from_le_bytes(*raw)).to_f32())
                .collect(),
        ),
        _ => None,
    }
}

/// Why tensors were refused.
#[derive(Debug, Error)]
pub enum TensorError {
    /// The shape and the number of elements disagree.
    #[error("a tensor's shape asks for {wanted} elements, but {found} are there")]
    Length {
        /// Elements the shape asks for.
        wanted: usize,
        /// Elements that are there.
        found: usize,
    },
    /// The product of the axes does not fit in memory.
    #[error("a tensor's shape overflows")]
    Shape,
    /// A tensor is missing or has another shape.
    #[error("tensor {name} should have shape {wanted:?}, found {found:?}")]
    Layout {
        /// The tensor.
        name: String,
        /// Its shape in the plan.
        wanted: Vec<usize>,
        /// Its shape in the file; `None` when it is missing.
        found: Option<Vec<usize>>,
    },
    /// A tensor that nobody asked for.
    #[error("tensor {name} is not part of this adapter")]
    Unexpected {
        /// The tensor.
        name: String,
    },
    /// A number format that adapters do not use.
    #[error("tensor {name} is {dtype:?}; adapters are f32, f16 or bf16")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its number format.
        dtype: Dtype,
    },
    /// Not a safetensors file.
    #[error("not a valid safetensors file: {0}")]
    File(#[from] safetensors::SafeTensorError),
}
