//! Why a call of Redis failed, in words that say what to do.

/// Why a call failed. What it says is for operators and for callers of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) why: String,
    /// Whether the connection is of no use any more.
    pub(super) is_disconnected: bool,
}

impl Failure {
    /// The connection is of no use any more.
    pub(super) fn disconnected(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_disconnected: true }
    }

    /// The server lives, but does not do what it is asked to.
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_disconnected: false }
    }

    /// The server has answered with an error of this code.
    pub(super) fn answered(code: &str, detail: &str) -> Self {
        match code {
            "READONLY" => Self::disconnected(IS_REPLICA),
            "MASTERDOWN" => Self::disconnected(format!("{IS_REPLICA}; it has lost its primary")),
            "NOAUTH" | "WRONGPASS" => Self::disconnected(WRONG_PASSWORD),
            "NOPERM" => Self::disconnected(format!("{NO_RIGHT}: {detail}")),
            // So Redis and so Valkey say it within scripts.
            _ if detail.contains("user executing the script can't") || detail.contains("ACL failure") => {
                Self::disconnected(format!("{NO_RIGHT}: {detail}"))
            }
            "LOADING" => Self::refused("the server is loading its data: it will answer when it has"),
            "OOM" => Self::refused("the server's memory is full: raise its maxmemory, or keep less history"),
            "MISCONF" => Self::refused(
                "the server cannot save its data, and takes no writes until it can: see its log",
            ),
            "NOREPLICAS" => Self::refused(
                "the server has fewer good replicas than its min-replicas-to-write, and takes no writes",
            ),
            "BUSY" => Self::refused("the server is busy with a script of somebody else"),
            "CLUSTERDOWN" => Self::refused(format!("the cluster does not serve all of its slots: {detail}")),
            "MOVED" | "ASK" | "CROSSSLOT" | "TRYAGAIN" => Self::refused(format!(
                "the server is one of a cluster: set history.redis.cluster, or wait while channels move ({code} {detail})"
            )),
            _ => Self::refused(format!("the server answers {code} {detail}")),
        }
    }
}

const IS_REPLICA: &str = "the server is a replica, which takes no writes: name the primary in \
    history.redis.addresses, or Sentinels and history.redis.sentinel.master";
const NO_RIGHT: &str = "the server's access control list does not give history.redis.user all rights that it needs, \
    see docs/operations.md";
const WRONG_PASSWORD: &str =
    "the server refuses user or password: mend history.redis.user, password or password_file";
