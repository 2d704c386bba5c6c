//! What a finished run leaves behind holds for a stranger who knows the coordinator's key.

use chancery_provenance::{Bundle, RunEvidence};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::world::World;

fn bundles(world: &World, query: &'static str) -> Vec<Bundle> {
    let path = world.dir().join("coordinator.db");
    world.block_on(async {
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let rows = sqlx::query(query).fetch_all(&pool).await.unwrap();
        pool.close().await;
        rows.iter()
            .map(|row| Bundle::parse(row.get::<String, _>("bundle").as_bytes()).unwrap())
            .collect()
    })
}

#[test]
fn receipts_are_chained_and_every_update_is_sworn_to() {
    let mut world = World::new();
    let sites = world.three_sites();
    let run = world.run(60);
    let view = world.work_through(&run, &sites);
    let receipts = bundles(&world, "SELECT bundle FROM receipts ORDER BY round");
    let trainings = bundles(&world, "SELECT bundle FROM trainings");
    let evidence = RunEvidence::verify(&world.coordinator_key(), &receipts, &trainings).unwrap();
    assert_eq!((evidence.receipts.len(), evidence.trainings.len()), (2, 6));
    assert_eq!(evidence.adapter().unwrap().to_string(), view.adapter_digest);
    for (_, receipt) in &evidence.receipts {
        assert!(receipt.roster.iter().all(|site| site.starts_with("site-")));
        let names = serde_json::to_string(receipt).unwrap();
        assert!(sites.iter().all(|site| !names.contains(&format!("\"{}\"", site.name))));
    }
}
