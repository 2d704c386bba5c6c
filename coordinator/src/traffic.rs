//! Bytes of each site, summed over its connections since somebody last asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chancery_provenance::Traffic;

use crate::grpc::SocketBytes;

/// Open and lately closed connections by site.
#[derive(Debug, Default)]
pub(crate) struct Meters(Mutex<BTreeMap<String, Vec<Meter>>>);

#[derive(Debug)]
struct Meter {
    connection: Arc<SocketBytes>,
    taken: (u64, u64),
}

impl Meters {
    /// A site has called over this connection.
    pub(crate) fn attach(&self, site: &str, connection: &Arc<SocketBytes>) {
        let Ok(mut meters) = self.0.lock() else { return };
        let of_site = meters.entry(site.to_owned()).or_default();
        if !of_site.iter().any(|meter| Arc::ptr_eq(&meter.connection, connection)) {
            of_site.push(Meter { connection: Arc::clone(connection), taken: (0, 0) });
        }
    }

    /// What a site's connections moved since the last time.
    pub(crate) fn take(&self, site: &str) -> Traffic {
        let mut traffic = Traffic::default();
        let Ok(mut meters) = self.0.lock() else { return traffic };
        let Some(of_site) = meters.get_mut(site) else { return traffic };
        for meter in of_site.iter_mut() {
            let now = meter.connection.so_far();
            traffic.up += now.0 - meter.taken.0;
            traffic.down += now.1 - meter.taken.1;
            meter.taken = now;
        }
        // A connection that is closed is held by nobody else.
        of_site.retain(|meter| Arc::strong_count(&meter.connection) > 1);
        traffic
    }
}
