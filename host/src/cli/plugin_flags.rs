//! Flags that concern plugins (`-m`, `-js`, `--cluster` and others): they become sections, or change those of the
//! file, so that a plugin sees one configuration.

use serde_json::{Map, Value as Json, json};

use super::go_flags::{Kind, Value};
use crate::config::problem::Problem;
use crate::config::{Section, plugin_of, split_address};

/// `None` leaves it to the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginFlags {
    http_port: Option<i64>,
    https_port: Option<i64>,
    jetstream: bool,
    store_dir: Option<String>,
    routes: Option<String>,
    cluster: Option<String>,
    cluster_name: Option<String>,
    cluster_advertise: Option<String>,
    no_advertise: Option<bool>,
    connect_retries: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginFlag {
    HttpPort,
    HttpsPort,
    JetStream,
    StoreDir,
    Routes,
    Cluster,
    ClusterName,
    ClusterAdvertise,
    NoAdvertise,
    ConnectRetries,
}

pub(super) fn find(name: &str) -> Option<(PluginFlag, Kind)> {
    Some(match name {
        "m" | "http_port" => (PluginFlag::HttpPort, Kind::Int),
        "ms" | "https_port" => (PluginFlag::HttpsPort, Kind::Int),
        "js" | "jetstream" => (PluginFlag::JetStream, Kind::Bool),
        "sd" | "store_dir" => (PluginFlag::StoreDir, Kind::Text),
        "routes" => (PluginFlag::Routes, Kind::Text),
        "cluster" | "cluster_listen" => (PluginFlag::Cluster, Kind::Text),
        "cluster_name" => (PluginFlag::ClusterName, Kind::Text),
        "cluster_advertise" => (PluginFlag::ClusterAdvertise, Kind::Text),
        "no_advertise" => (PluginFlag::NoAdvertise, Kind::Bool),
        "connect_retries" => (PluginFlag::ConnectRetries, Kind::Int),
        _ => return None,
    })
}

impl PluginFlags {
    pub(super) fn take(&mut self, flag: PluginFlag, value: Value) {
        match (flag, value) {
            (PluginFlag::HttpPort, Value::Int(port)) => self.http_port = Some(port).filter(|&port| port != 0),
            (PluginFlag::HttpsPort, Value::Int(port)) => {
                self.https_port = Some(port).filter(|&port| port != 0)
            }
            (PluginFlag::ConnectRetries, Value::Int(number)) => self.connect_retries = Some(number),
            (PluginFlag::JetStream, Value::Bool(on)) => self.jetstream = on,
            (PluginFlag::NoAdvertise, Value::Bool(on)) => self.no_advertise = Some(on),
            (PluginFlag::StoreDir, Value::Text(text)) => {
                self.store_dir = Some(text).filter(|text| !text.is_empty())
            }
            (PluginFlag::Routes, Value::Text(text)) => self.routes = Some(text),
            (PluginFlag::Cluster, Value::Text(text)) => self.cluster = Some(text),
            (PluginFlag::ClusterName, Value::Text(text)) => self.cluster_name = Some(text),
            (PluginFlag::ClusterAdvertise, Value::Text(text)) => self.cluster_advertise = Some(text),
            _ => {}
        }
    }

    pub(super) fn apply(&self, sections: &mut Vec<Section>) -> Result<(), Problem> {
        apply_port(sections, "http", "http_port", self.http_port);
        apply_port(sections, "https", "https_port", self.https_port);
        self.apply_jetstream(sections);
        self.apply_cluster(sections)
    }

    /// `-sd` alone does not switch JetStream on; it wins over every spelling in the file.
    fn apply_jetstream(&self, sections: &mut Vec<Section>) {
        if let Some(dir) = &self.store_dir {
            if let Some(Json::Object(block)) = find_value(sections, "jetstream") {
                remove(block, &["store_dir", "store", "storedir"]);
            }
            put(sections, "store_dir", json!(dir));
        }
        if self.jetstream {
            match find_value(sections, "jetstream") {
                Some(Json::Object(block)) => {
                    remove(block, &["enabled", "enable"]);
                    block.insert("enabled".to_owned(), json!(true));
                }
                _ => put(sections, "jetstream", json!(true)),
            }
        }
    }

    fn apply_cluster(&self, sections: &mut Vec<Section>) -> Result<(), Problem> {
        if let Some(url) = &self.cluster {
            if url.is_empty() {
                // Switches clustering off, and routes with it.
                sections.retain(|section| section.path != ["cluster"]);
                return Ok(());
            }
            let address = ClusterAddress::parse(url).map_err(|cause| {
                Problem::nowhere(format!("invalid cluster URL {:?}: {cause}", redacted(url)))
            })?;
            address.apply(cluster(sections));
        }
        let routes = self.routes.as_deref().unwrap_or_default();
        if !routes.is_empty() && find_value(sections, "cluster").is_none() {
            return Err(Problem::nowhere("solicited routes require cluster capabilities, e.g. --cluster"));
        }
        if self.routes.is_some() && find_value(sections, "cluster").is_some() {
            let urls: Vec<&str> = routes.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
            set(cluster(sections), &["routes"], json!(urls));
        }
        if let Some(name) = &self.cluster_name {
            set(cluster(sections), &["name"], json!(name));
        }
        if let Some(advertise) = &self.cluster_advertise {
            set(cluster(sections), &["advertise", "cluster_advertise"], json!(advertise));
        }
        if let Some(on) = self.no_advertise {
            set(cluster(sections), &["no_advertise"], json!(on));
        }
        if let Some(retries) = self.connect_retries {
            set(cluster(sections), &["connect_retries"], json!(retries));
        }
        Ok(())
    }
}

/// `nats://user:password@host:port`, the scheme being optional.
struct ClusterAddress {
    host: String,
    port: i32,
    credentials: Option<(String, String)>,
}

impl ClusterAddress {
    fn parse(url: &str) -> Result<Self, String> {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        let (user_info, address) = match authority.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, authority),
        };
        let credentials = match user_info.map(|info| info.split_once(':')) {
            None => None,
            Some(Some((user, password))) => Some((user.to_owned(), password.to_owned())),
            Some(None) => return Err("expected cluster password to be set".to_owned()),
        };
        let (host, port) = split_address(address, None)?;
        Ok(ClusterAddress { host, port, credentials })
    }

    fn apply(self, cluster: &mut Map<String, Json>) {
        remove(cluster, &["listen", "net"]);
        set(cluster, &["host"], json!(self.host));
        set(cluster, &["port"], json!(self.port));
        match self.credentials {
            Some((user, password)) => {
                set(cluster, &["authorization"], json!({"user": user, "password": password}));
            }
            None => remove(cluster, &["authorization"]),
        }
    }
}

/// A port on the command line replaces that of `http: "host:port"` and keeps the host.
fn apply_port(sections: &mut Vec<Section>, address_key: &str, port_key: &str, port: Option<i64>) {
    let Some(port) = port else { return };
    let host = match find_value(sections, address_key) {
        Some(Json::String(address)) => address.rsplit_once(':').map(|(host, _)| host.to_owned()),
        _ => None,
    };
    match host {
        Some(host) => put(sections, address_key, json!(format!("{host}:{port}"))),
        None => {
            sections.retain(|section| section.path != [address_key]);
            put(sections, port_key, json!(port));
        }
    }
}

fn find_value<'a>(sections: &'a mut [Section], key: &str) -> Option<&'a mut Json> {
    sections.iter_mut().find(|section| section.path == [key]).map(|section| &mut section.value)
}

/// Sets a whole section.
fn put(sections: &mut Vec<Section>, key: &str, value: Json) {
    match find_value(sections, key) {
        Some(present) => *present = value,
        None => sections.push(Section::of_flag(&[key], plugin_of(key).unwrap_or_default(), value)),
    }
}

/// The cluster block, made when the file has none.
fn cluster(sections: &mut Vec<Section>) -> &mut Map<String, Json> {
    if !matches!(find_value(sections, "cluster"), Some(Json::Object(_))) {
        put(sections, "cluster", json!({}));
    }
    match find_value(sections, "cluster") {
        Some(Json::Object(block)) => block,
        _ => unreachable!("the section was just made an object"),
    }
}

/// Sets the first of `names` and removes the value under all of its aliases, whatever their case.
fn set(block: &mut Map<String, Json>, names: &[&str], value: Json) {
    remove(block, names);
    if let Some(name) = names.first() {
        block.insert((*name).to_owned(), value);
    }
}

fn remove(block: &mut Map<String, Json>, names: &[&str]) {
    block.retain(|key, _| !names.contains(&key.to_ascii_lowercase().as_str()));
}

fn redacted(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, address)) => format!("[REDACTED]@{address}"),
        None => url.to_owned(),
    }
}
