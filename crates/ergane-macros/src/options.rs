//! What stands in the parentheses of `#[tool(…)]`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::parse::Parser;
use syn::{Error, LitStr, Path, Result};

/// The options, checked.
pub(crate) struct Options {
    pub(crate) krate: Path,
    pub(crate) effect: TokenStream,
    pub(crate) reach: Option<TokenStream>,
    pub(crate) timeout: Option<TokenStream>,
    pub(crate) name: Option<LitStr>,
}

impl Options {
    pub(crate) fn parse(attribute: TokenStream) -> Result<Self> {
        let mut krate = None;
        let mut effect = None;
        let mut reach = None;
        let mut timeout = None;
        let mut name = None;
        let parser = syn::meta::parser(|meta| {
            let slot = if meta.path.is_ident("crate") {
                &mut krate
            } else if meta.path.is_ident("effect") {
                &mut effect
            } else if meta.path.is_ident("reach") {
                &mut reach
            } else if meta.path.is_ident("timeout") {
                &mut timeout
            } else if meta.path.is_ident("name") {
                &mut name
            } else {
                return Err(meta.error(
                    "unknown option; #[tool] knows `effect`, `reach`, `timeout`, `name` and `crate`",
                ));
            };
            if slot.is_some() {
                return Err(meta.error("this option is given twice"));
            }
            *slot = Some(meta.value()?.parse::<LitStr>()?);
            Ok(())
        });
        parser.parse2(attribute)?;
        Ok(Self {
            krate: match krate {
                Some(path) => path.parse()?,
                None => syn::parse_str("::ergane::tool_support")?,
            },
            effect: variant(effect.as_ref())?,
            reach: reach.as_ref().map(reach_of).transpose()?,
            timeout: timeout.as_ref().map(duration).transpose()?,
            name: name.map(checked_name).transpose()?,
        })
    }
}

/// Left out, it is the effect that is never run twice and needs permission: forgetting it must not be dangerous.
fn variant(effect: Option<&LitStr>) -> Result<TokenStream> {
    let text = effect.map_or_else(|| "write".to_owned(), LitStr::value);
    let name = match text.as_str() {
        "read" => "Read",
        "idempotent" => "Idempotent",
        "write" => "Write",
        _ => {
            let span = effect.map_or_else(Span::call_site, LitStr::span);
            return Err(Error::new(span, "the effect is \"read\", \"idempotent\" or \"write\""));
        }
    };
    let name = format_ident!("{name}");
    Ok(quote!(#name))
}

fn reach_of(reach: &LitStr) -> Result<TokenStream> {
    match reach.value().as_str() {
        "files" => Ok(quote!(Files)),
        "network" => Ok(quote!(Network)),
        "anything" => Ok(quote!(Anything)),
        _ => Err(Error::new(reach.span(), "the reach is \"files\", \"network\" or \"anything\"")),
    }
}

fn duration(literal: &LitStr) -> Result<TokenStream> {
    let text = literal.value();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let millis = millis.zip(number.parse::<u64>().ok()).and_then(|(unit, number)| number.checked_mul(unit));
    match millis {
        Some(millis) if millis > 0 => Ok(quote!(::core::time::Duration::from_millis(#millis))),
        _ => Err(Error::new(
            literal.span(),
            "a timeout is a whole number above 0 and ms, s or m, such as \"30s\"",
        )),
    }
}

fn checked_name(literal: LitStr) -> Result<LitStr> {
    let name = literal.value();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        return Err(Error::new(
            literal.span(),
            "a tool's name is 1 to 64 ASCII letters, digits, `_` and `-`",
        ));
    }
    Ok(literal)
}
