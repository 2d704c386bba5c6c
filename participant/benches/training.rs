//! One optimiser step of LoRA fine-tuning on the example base: `cargo bench -p chancery-participant`.

use std::path::Path;

use chancery_participant::{BaseModel, BurnTrainer, Dataset, Flow, TrainJob, Trainer};
use chancery_proto::Recipe;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn training(criterion: &mut Criterion) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let (Ok(model), Ok(data)) = (
        BaseModel::open(&examples.join("base")),
        Dataset::from_jsonl(&examples.join("data/hospital/train.jsonl")),
    ) else {
        return;
    };
    let Ok(mut recipe) = Recipe::from_toml(chancery_proto::SAMPLE) else { return };
    recipe.training.steps = 1;
    let mut trainer = BurnTrainer::new(model);
    let Ok(adapter) = recipe.adapter.initial(&trainer.shape(), 1) else { return };
    let mut group = criterion.benchmark_group("training, example base, batch 16");
    group.sample_size(10);
    for method in [chancery_proto::Method::Ffa, chancery_proto::Method::Fedit] {
        let job = TrainJob {
            adapter: recipe.adapter.clone(),
            factors: method.factors(1),
            training: recipe.training.clone(),
            round: 1,
            rounds: 1,
            site_seed: 1,
        };
        let tokens = trainer
            .train(&job, &adapter, &data, &mut |_| Flow::Continue)
            .map_or(0, |trained| trained.tokens);
        group.throughput(Throughput::Elements(tokens));
        group.bench_function(format!("one step, training {}", job.factors), |b| {
            b.iter(|| trainer.train(&job, &adapter, &data, &mut |_| Flow::Continue));
        });
    }
    group.finish();
}

criterion_group!(benches, training);
criterion_main!(benches);
