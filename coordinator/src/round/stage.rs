//! One step of a round: what each site is asked for, under a lease, and what it handed in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Reject;

/// One step of a round, by pseudonym.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage<T> {
    sites: BTreeMap<String, Work<T>>,
    since: u64,
}

/// One site's task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Work<T> {
    /// Not asked for yet; lost when nobody asks until then.
    Open {
        /// Milliseconds since 1970.
        until: u64,
    },
    /// Being done.
    Leased {
        /// The lease's name.
        lease: String,
        /// Milliseconds since 1970.
        until: u64,
        /// The latest report.
        report: Report,
    },
    /// Silent for longer than a lease; it may come back while the step is open.
    Lost,
    /// Handed in.
    Done(T),
}

/// A site's latest report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Optimiser step.
    pub step: u32,
    /// Of how many.
    pub steps: u32,
    /// Tokens a second.
    pub tokens_per_second: f64,
}

/// Leases, whatever it is that the sites hand in.
pub(crate) trait Leases {
    /// Whether the site has a part in this step.
    fn includes(&self, site: &str) -> bool;
    /// Leases the site's task; a site that asks again has forgotten its lease and gets a new one.
    fn grant(&mut self, site: &str, lease: &str, until: u64) -> Result<bool, Reject>;
    /// The site works on.
    fn renew(&mut self, site: &str, lease: &str, news: Report, until: u64) -> Result<(), Reject>;
    /// The site lives, whatever the task.
    fn prolong(&mut self, site: &str, until: u64) -> Result<(), Reject>;
    /// Until when the site has a lease, if it has one.
    fn leased_until(&self, site: &str) -> Option<u64>;
    /// Takes the site's lease away; it may ask for the task again.
    fn forfeit(&mut self, site: &str);
    /// Gives up what was silent for too long.
    fn expire(&mut self, at: u64);
    /// When something must be looked at although nothing happened.
    fn next(&self, limit: u64) -> u64;
}

impl<T> Stage<T> {
    /// Asks each of `sites`, who must call before `until`.
    pub(crate) fn open<'a>(
        sites: impl IntoIterator<Item = &'a String>,
        at: u64,
        until: u64,
    ) -> Self {
        let open = |site: &String| (site.clone(), Work::Open { until });
        Self { sites: sites.into_iter().map(open).collect(), since: at }
    }

    /// Takes what the site hands in under its lease; `None` when it has handed in something before.
    pub(crate) fn take(
        &mut self,
        site: &str,
        lease: &str,
        value: T,
    ) -> Result<Result<(), &T>, Reject> {
        match self.sites.get_mut(site).ok_or(Reject::Foreign)? {
            Work::Done(before) => Ok(Err(before)),
            work => match work {
                Work::Leased { lease: held, .. } if held == lease => {
                    *work = Work::Done(value);
                    Ok(Ok(()))
                }
                _ => Err(Reject::Lease),
            },
        }
    }

    /// What was handed in.
    pub(crate) fn done(&self) -> impl Iterator<Item = (&String, &T)> {
        self.sites.iter().filter_map(|(site, work)| match work {
            Work::Done(value) => Some((site, value)),
            _ => None,
        })
    }

    /// What was handed in, to keep.
    pub(crate) fn collect(&self) -> BTreeMap<String, T>
    where
        T: Clone,
    {
        self.done().map(|(site, value)| (site.clone(), value.clone())).collect()
    }

    /// All sites with their tasks.
    pub(crate) fn works(&self) -> impl Iterator<Item = (&String, &Work<T>)> {
        self.sites.iter()
    }

    /// Whether nobody is waited for any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.sites.values().all(|work| matches!(work, Work::Done(_) | Work::Lost))
    }

    /// Whether it has lasted for `limit_ms`.
    pub(crate) fn is_overdue(&self, at: u64, limit_ms: u64) -> bool {
        at >= self.since + limit_ms
    }
}

impl<T> Leases for Stage<T> {
    fn includes(&self, site: &str) -> bool {
        self.sites.contains_key(site)
    }

    fn grant(&mut self, site: &str, lease: &str, until: u64) -> Result<bool, Reject> {
        match self.sites.get_mut(site).ok_or(Reject::Foreign)? {
            Work::Done(_) => Ok(false),
            work => {
                *work = Work::Leased { lease: lease.to_owned(), until, report: Report::default() };
                Ok(true)
            }
        }
    }

    fn renew(&mut self, site: &str, lease: &str, news: Report, end: u64) -> Result<(), Reject> {
        match self.sites.get_mut(site).ok_or(Reject::Foreign)? {
            Work::Leased { lease: held, until, report } if held == lease => {
                (*until, *report) = (end, news);
                Ok(())
            }
            _ => Err(Reject::Lease),
        }
    }

    fn prolong(&mut self, site: &str, end: u64) -> Result<(), Reject> {
        match self.sites.get_mut(site).ok_or(Reject::Foreign)? {
            Work::Leased { until, .. } => {
                *until = end;
                Ok(())
            }
            _ => Err(Reject::Lease),
        }
    }

    fn leased_until(&self, site: &str) -> Option<u64> {
        match self.sites.get(site) {
            Some(Work::Leased { until, .. }) => Some(*until),
            _ => None,
        }
    }

    fn forfeit(&mut self, site: &str) {
        if let Some(work @ Work::Leased { .. }) = self.sites.get_mut(site) {
            *work = Work::Lost;
        }
    }

    fn expire(&mut self, at: u64) {
        for work in self.sites.values_mut() {
            if let Work::Open { until } | Work::Leased { until, .. } = work
                && *until <= at
            {
                *work = Work::Lost;
            }
        }
    }

    fn next(&self, limit: u64) -> u64 {
        let leases = self.sites.values().filter_map(|work| match work {
            Work::Open { until } | Work::Leased { until, .. } => Some(*until),
            Work::Lost | Work::Done(_) => None,
        });
        let end = self.since + limit;
        leases.min().unwrap_or(end).min(end)
    }
}
