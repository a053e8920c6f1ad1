//! What changes something: reading the configuration again, disconnecting a client.

use super::{Deed, Reply, begin, code, param};
use crate::app::json::Json;
use crate::app::world::World;

pub(super) fn raw(world: &World, query: &str) -> Deed {
    let api = &world.config.http_api;
    if !api.raw {
        return Deed::Reply(Reply::fault(world, code::RAW_DISABLED, "see `raw_api` of `http_api`"));
    }
    let reply = match param(query, "rpc") {
        Some("raw") => {
            let mut json = begin(world, code::OK);
            json.open("http_api");
            json.put("enabled", &api.enabled);
            json.list("listen");
            api.listen.iter().for_each(|listen| json.entry(&listen.to_string()));
            json.end();
            json.put("crossdomain", &api.crossdomain);
            json.open("raw_api");
            json.put("enabled", &api.raw);
            json.put("allow_reload", &api.allow_reload);
            json.put("allow_query", &false);
            json.put("allow_update", &false);
            json.close();
            json.close();
            Reply::json(json)
        }
        Some("reload") if !api.allow_reload => {
            Reply::fault(world, code::NOT_ALLOWED, "see `allow_reload` of `raw_api`")
        }
        Some("reload") => return Deed::Reload,
        Some("reload-fetch") => {
            let mut json = begin(world, code::OK);
            outcome(world, &mut json);
            Reply::json(json)
        }
        _ => Reply::fault(world, code::RAW_PARAMS, "rpc is raw, reload or reload-fetch"),
    };
    Deed::Reply(reply)
}

/// The answer after a reload.
pub fn reloaded(world: &World) -> Reply {
    let failed = world.api.reloaded.1.as_ref().is_some_and(|last| last.outcome.is_err());
    let mut json = begin(world, if failed { code::CONFIG } else { code::OK });
    outcome(world, &mut json);
    Reply::json(json)
}

/// What the last reload came to.
fn outcome(world: &World, json: &mut Json) {
    let (number, last) = &world.api.reloaded;
    let said = last.as_ref().map(|last| &last.outcome);
    let (changes, fault) = match said {
        None => (&[][..], ""),
        Some(Ok(changes)) => (changes.as_slice(), ""),
        Some(Err(fault)) => (&[][..], fault.as_str()),
    };
    json.open("data");
    json.put("err", if fault.is_empty() { &code::OK } else { &code::CONFIG });
    json.text("msg", if fault.is_empty() { "Success" } else { fault });
    json.put("state", &u8::from(last.is_some()));
    json.text("rid", &number.to_string());
    json.put("ms", &last.as_ref().map_or(0, |last| last.took));
    json.list("changes");
    changes.iter().for_each(|change| json.entry(change));
    json.end();
    json.list("errors");
    // Each mistake has its source line and a caret below it, which are in `msg`.
    let is_own = |line: &&str| !fault.contains(": error: ") || line.contains(": error: ");
    fault.lines().filter(is_own).for_each(|line| json.entry(line));
    json.end();
    json.close();
}

pub(super) fn kick(world: &World, id: &str) -> Deed {
    if !world.config.http_api.allow_kick {
        return Deed::Reply(Reply::fault(world, code::NOT_ALLOWED, "see `allow_kick` of `http_api`"));
    }
    match id.parse() {
        Ok(number) => Deed::Kick(number),
        Err(_) => Deed::Reply(kicked(world, false)),
    }
}

/// The answer after a client was disconnected, or was not there.
pub fn kicked(world: &World, found: bool) -> Reply {
    match found {
        true => Reply::json(begin(world, code::OK)),
        false => Reply::fault(world, code::CLIENT, "there is no such client"),
    }
}
