//! A site: local LoRA fine-tuning with burn, and the site's side of a round.

mod assignment;
mod client;
mod clock;
mod data;
mod error;
mod held;
mod home;
mod join;
mod masked;
mod model;
mod policy;
mod progress;
mod receipts;
mod round;
mod site;
mod statement;
mod trainer;

pub use client::{Client, Traffic};
pub use data::{Dataset, Example, Sequence};
pub use error::Error;
pub use home::{Home, SiteFile};
pub use join::{authority_fingerprint, join};
pub use model::{
    BaseModel, Batch, Llama, LlamaConfig, Lora, RopeScaling, Weights, load_peft, save_peft,
};
pub use policy::Policy;
pub use progress::{Note, Observer, observer};
pub use site::{Outcome, Site, SiteData};
pub use trainer::{
    BurnTrainer, Evaluation, Flow, Gradients, Pretraining, Progress, TrainError, TrainJob, Trained,
    Trainer, pretrain,
};
