//! One value each: text in, what it means or what would be right out. Pure, except that `localhost` is a word for two
//! addresses that everybody agrees on.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use hyper::{Uri, header::HeaderName};
use ipnet::IpNet;

/// A duration with its unit, within `range`.
pub fn duration(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, String> {
    let spoken = |duration: Duration| match duration.as_secs() {
        _ if duration < Duration::from_secs(1) => format!("{}ms", duration.as_millis()),
        seconds if seconds >= 86_400 => format!("{}d", seconds / 86_400),
        seconds if seconds >= 3_600 => format!("{}h", seconds / 3_600),
        seconds if seconds >= 60 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    };
    let value = humantime::parse_duration(text)
        .map_err(|_| "a duration has a number and a unit, as in 250ms, 15s, 10m, 30d".to_owned())?;
    if range.contains(&value) {
        return Ok(value);
    }
    // Zero is written without the silly 0ms.
    let low = if range.start().is_zero() { "0s".to_owned() } else { spoken(*range.start()) };
    Err(format!("it must lie between {low} and {}", spoken(*range.end())))
}

/// A whole number within `range`.
pub fn number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let wrong = || format!("it must be a whole number from {} to {}", range.start(), range.end());
    text.parse().ok().filter(|value| range.contains(value)).ok_or_else(wrong)
}

/// `true` or `false`, `1` or `0`.
pub fn switch(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("it must be true or false".to_owned()),
    }
}

/// One of `words`; the answer is its place among them.
pub fn one_of(text: &str, words: &[&str]) -> Result<usize, String> {
    let place = words.iter().position(|word| *word == text);
    place.ok_or_else(|| {
        let hint = super::setting::did_you_mean(text, words.iter().copied());
        format!("it must be one of {}{hint}", words.join(", "))
    })
}

/// A path or a text that may be anything but nothing.
pub fn something(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("it is empty; leave it out instead".to_owned()) } else { Ok(text.to_owned()) }
}

/// An address and a port. No name but `localhost`, which needs nobody to look it up.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let wants = "it must be an address and a port, as in 127.0.0.1:5000, [::1]:5000 or localhost:5000";
    Err(match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("the port is missing: write [{address}]:5000"),
        Ok(address) => format!("the port is missing: write {address}:5000"),
        Err(_) if text.parse::<u16>().is_ok() => format!("the address is missing: write 127.0.0.1:{text}"),
        Err(_) => wants.to_owned(),
    })
}

/// The path under which everything is served, without a slash at its end: empty for `/`.
pub fn base_path(text: &str) -> Result<String, String> {
    let path = text.strip_suffix('/').unwrap_or(text);
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    match path.strip_prefix('/') {
        None if text == "/" => Ok(String::new()),
        Some(parts) if parts.split('/').all(plain) => Ok(path.to_owned()),
        _ => Err("it must begin with a slash and hold letters, digits, - . _ ~ only, as in /alarms".to_owned()),
    }
}

/// An origin as browsers send it: scheme, host, and the port unless it is the usual one (RFC 6454 §6.2).
pub fn origin(text: &str) -> Result<String, String> {
    let wants = || "it must be a scheme and a host, as in https://intranet.example or http://10.0.0.5:8080".to_owned();
    if text == "*" {
        return Err("every origin cannot be allowed: name each, as in https://intranet.example".to_owned());
    }
    let uri: Uri = text.parse().map_err(|_| wants())?;
    let usual = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err(wants()),
    };
    let bare = uri.path() == "/" && uri.query().is_none() && !text.contains(['@', '#']);
    let host = uri.host().filter(|host| bare && !host.is_empty()).ok_or_else(wants)?.to_ascii_lowercase();
    let scheme = uri.scheme_str().unwrap_or_default();
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => Ok(format!("{scheme}://{host}:{port}")),
        None => Ok(format!("{scheme}://{host}")),
    }
}

/// A host name in lower case, without a port.
pub fn host(text: &str) -> Result<String, String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(name);
    }
    Err(match name.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() && name.split('.').all(label) => {
            format!("it must be a name without a port: write {name}")
        }
        _ => "it must be a host name without scheme and port, as in alarms.example".to_owned(),
    })
}

/// Some addresses: `10.0.0.0/28`, or a single one.
pub fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.prefix_len() == 0 => {
            Err("that is every address there is: name those of the proxies".to_owned())
        }
        Ok(network) => Ok(network.trunc()),
        Err(_) => Err("it must be an address or a network, as in 10.0.0.7 or 10.0.0.0/28".to_owned()),
    }
}

/// The name of a header, in lower case.
pub fn header(text: &str) -> Result<String, String> {
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| "it must be the name of a header, as in X-Remote-User".to_owned())?;
    // What the client itself or HTTP fills in cannot carry the word of a proxy.
    let taken = ["host", "cookie", "authorization", "origin", "accept", "content-length", "transfer-encoding"];
    if taken.contains(&name.as_str()) {
        return Err(format!("'{name}' has a meaning of its own: take another, as in X-Remote-User"));
    }
    Ok(name.as_str().to_owned())
}

/// The sources of a `frame-ancestors` directive (CSP Level 3 §6.4.2), joined by one space.
pub fn frame_ancestors(text: &str) -> Result<String, String> {
    let sources: Vec<&str> = text.split_ascii_whitespace().collect();
    let plain = |source: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/.*-_[]".contains(&byte);
        source == "'self'" || (!source.is_empty() && source.bytes().all(plain))
    };
    match sources[..] {
        ["'none'"] => Ok("'none'".to_owned()),
        ["none" | "self"] => Err(format!("the word needs its quotes: write \"'{}'\"", sources[0])),
        [_, ..] if sources.iter().all(|source| plain(source)) => Ok(sources.join(" ")),
        _ => {
            Err("it must be 'none', or 'self' and origins separated by spaces, as in https://portal.example".to_owned())
        }
    }
}

/// The address of a hub, without a slash at its end.
pub fn url(text: &str) -> Result<String, String> {
    let wrong = || "it must be a URL as in http://10.0.0.5:5000".to_owned();
    let url = reqwest::Url::parse(text).map_err(|_| wrong())?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" && plain;
    if fits { Ok(text.trim_end_matches('/').to_owned()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_without_a_unit_or_out_of_range_is_refused_with_what_would_be_right() {
        let range = Duration::from_millis(1)..=Duration::from_secs(3_600);
        assert_eq!(duration("250ms", range.clone()), Ok(Duration::from_millis(250)));
        assert!(duration("250", range.clone()).is_err_and(|why| why.contains("250ms")));
        assert!(duration("-1s", range.clone()).is_err());
        assert_eq!(duration("2h", range), Err("it must lie between 1ms and 1h".to_owned()));
        let month = Duration::ZERO..=Duration::from_secs(86_400);
        assert_eq!(duration("30d", month), Err("it must lie between 0s and 1d".to_owned()));
    }

    #[test]
    fn an_address_that_lacks_half_of_itself_is_told_which_half() {
        assert_eq!(address("[::1]:5000"), Ok("[::1]:5000".parse().unwrap()));
        assert_eq!(address("localhost:80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(address("::1"), Err("the port is missing: write [::1]:5000".to_owned()));
        assert_eq!(address("5000"), Err("the address is missing: write 127.0.0.1:5000".to_owned()));
        assert!(address("alarms.example:5000").is_err());
    }

    #[test]
    fn a_base_path_has_no_slash_at_its_end_and_cannot_climb() {
        assert_eq!(base_path("/"), Ok(String::new()));
        assert_eq!(base_path("/alarms/"), Ok("/alarms".to_owned()));
        for bad in ["", "alarms", "//", "/a//b", "/a/../b", "/a b", "/a?b", "/%2e"] {
            assert!(base_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_origin_reads_as_browsers_send_it() {
        assert_eq!(origin("HTTPS://Intranet.Example:443/"), Ok("https://intranet.example".to_owned()));
        assert_eq!(origin("http://10.0.0.5:8080"), Ok("http://10.0.0.5:8080".to_owned()));
        for bad in ["*", "null", "intranet.example", "https://a.example/path", "file:///x", "https://u@a.example"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_with_a_port_is_told_to_leave_it_out() {
        assert_eq!(host("Alarms.Example."), Ok("alarms.example".to_owned()));
        assert_eq!(
            host("alarms.example:5000"),
            Err("it must be a name without a port: write alarms.example".to_owned())
        );
        assert!(host("http://alarms.example").is_err());
    }

    #[test]
    fn trusting_every_address_is_refused() {
        assert_eq!(network("10.0.0.7").map(|network| network.to_string()), Ok("10.0.0.7/32".to_owned()));
        assert_eq!(network("10.0.0.7/28").map(|network| network.to_string()), Ok("10.0.0.0/28".to_owned()));
        assert!(network("0.0.0.0/0").is_err());
        assert!(network("10.0.0").is_err());
    }

    #[test]
    fn a_header_that_the_client_fills_in_cannot_name_the_user() {
        assert_eq!(header("X-Remote-User"), Ok("x-remote-user".to_owned()));
        assert!(header("Authorization").is_err());
        assert!(header("X Remote").is_err());
    }

    #[test]
    fn frame_ancestors_cannot_end_their_directive() {
        assert_eq!(frame_ancestors("'self'  https://a.example"), Ok("'self' https://a.example".to_owned()));
        for bad in ["", "none", "'none' 'self'", "https://a.example; script-src *", "a,b"] {
            assert!(frame_ancestors(bad).is_err(), "{bad}");
        }
    }
}
