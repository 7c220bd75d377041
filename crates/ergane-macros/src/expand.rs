//! From the function to the trait's implementation.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, LitStr, Meta, Pat, PatType, Result, Type,
    Visibility,
};

use crate::options::Options;

/// Writes the tool.
pub(crate) fn tool(attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), format!("#[tool] belongs on an async fn: {error}")))?;
    let options = Options::parse(attribute)?;
    check(&function)?;
    let (docs, others): (Vec<_>, Vec<_>) =
        function.attrs.iter().cloned().partition(|attr| attr.path().is_ident("doc"));
    let (cfgs, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|attr| attr.path().is_ident("cfg"));
    let description = description(&docs, &function)?;
    let parameters = function.sig.inputs.iter().map(Parameter::of).collect::<Result<Vec<_>>>()?;
    let mut contexts = parameters.iter().filter(|parameter| matches!(parameter, Parameter::Context { .. }));
    if let Some(second) = contexts.nth(1) {
        return Err(Error::new(second.span(), "the context can be asked for once only"));
    }

    let Options { krate, effect, reach, timeout, name } = &options;
    let ident = &function.sig.ident;
    let name = match name {
        Some(name) => name.clone(),
        None => own_name(ident)?,
    };
    let timeout = timeout.as_ref().map(|timeout| {
        quote! {
            fn timeout(&self) -> ::core::option::Option<::core::time::Duration> {
                ::core::option::Option::Some(#timeout)
            }
        }
    });
    let reach = reach.as_ref().map(|reach| {
        quote! {
            fn reach(&self) -> #krate::Reach {
                #krate::Reach::#reach
            }
        }
    });
    let visibility = &function.vis;
    let fields = parameters.iter().filter_map(Parameter::field);
    let arguments = parameters.iter().map(Parameter::argument);
    let serde = LitStr::new(&path_text(krate, "serde"), Span::call_site());
    let schemars = LitStr::new(&path_text(krate, "schemars"), Span::call_site());
    let body = format_ident!("__{}", ident.unraw(), span = ident.span());
    let inner = inner(&function, &body, &others);
    let output = quote_spanned! { function.sig.output.span() =>
        #krate::IntoToolResult::into_tool_result(#body(#(#arguments),*).await)
    };

    Ok(quote! {
        #(#cfgs)*
        #(#docs)*
        #[allow(non_camel_case_types)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug, ::core::default::Default)]
        #visibility struct #ident;

        #(#cfgs)*
        const _: () = {
            #inner

            #[derive(#krate::private::serde::Deserialize, #krate::private::schemars::JsonSchema)]
            #[serde(crate = #serde, deny_unknown_fields)]
            #[schemars(crate = #schemars)]
            #[allow(non_camel_case_types)]
            struct __Arguments {
                #(#fields)*
            }

            impl #krate::Tool for #ident {
                fn name(&self) -> &str {
                    #name
                }

                fn description(&self) -> &str {
                    #description
                }

                fn parameters(&self) -> #krate::private::serde_json::Value {
                    #krate::private::schema::<__Arguments>()
                }

                fn effect(&self) -> #krate::Effect {
                    #krate::Effect::#effect
                }

                #reach

                #timeout

                fn call(
                    &self,
                    __ctx: #krate::ToolContext,
                    __arguments: #krate::private::serde_json::Map<
                        ::std::string::String,
                        #krate::private::serde_json::Value,
                    >,
                ) -> #krate::ToolFuture {
                    ::std::boxed::Box::pin(async move {
                        let __arguments: __Arguments = #krate::private::parse(__arguments)?;
                        #output
                    })
                }
            }
        };
    })
}

/// What a tool cannot be made of.
fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new(
            signature.fn_token.span(),
            "a tool is an `async fn`, so that it can be timed out and interrupted; put blocking work on \
             `tokio::task::spawn_blocking`",
        ));
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        return Err(Error::new(
            signature.generics.span(),
            "a tool cannot be generic: its schema must be one",
        ));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new(abi.span(), "a tool has no ABI"));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(Error::new(variadic.span(), "a tool has no variadic arguments"));
    }
    Ok(())
}

/// The lines of a doc comment, without the space after `///`.
fn description(docs: &[Attribute], function: &ItemFn) -> Result<String> {
    let mut text = String::new();
    for doc in docs {
        if let Meta::NameValue(pair) = &doc.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value
        {
            let line = line.value();
            text.push_str(line.strip_prefix(' ').unwrap_or(&line));
            text.push('\n');
        }
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::new(
            function.sig.ident.span(),
            "a tool needs a doc comment: it is what the model is told of it",
        ));
    }
    Ok(text.to_owned())
}

fn own_name(ident: &Ident) -> Result<LitStr> {
    let text = ident.unraw().to_string();
    if text.len() > 64 || !text.is_ascii() {
        return Err(Error::new(
            ident.span(),
            "providers take names of at most 64 ASCII letters: add name = \"…\"",
        ));
    }
    Ok(LitStr::new(&text, ident.span()))
}

/// The user's function under an inner name: a unit struct takes its name in both namespaces. What stood on its
/// parameters has moved to the fields.
fn inner(function: &ItemFn, name: &Ident, attributes: &[Attribute]) -> ItemFn {
    let mut inner = function.clone();
    inner.sig.ident = name.clone();
    inner.vis = Visibility::Inherited;
    inner.attrs = attributes.to_vec();
    for input in &mut inner.sig.inputs {
        if let FnArg::Typed(typed) = input {
            typed.attrs.clear();
        }
    }
    inner
}

fn path_text(krate: &syn::Path, last: &str) -> String {
    let path = quote!(#krate::private).to_string().replace(' ', "");
    format!("{path}::{last}")
}

enum Parameter<'a> {
    Context { by_reference: bool, span: Span },
    Extension { ty: &'a Type },
    Field { ident: &'a Ident, typed: &'a PatType },
}

impl<'a> Parameter<'a> {
    fn of(input: &'a FnArg) -> Result<Self> {
        let typed = match input {
            FnArg::Typed(typed) => typed,
            FnArg::Receiver(receiver) => {
                return Err(Error::new(
                    receiver.span(),
                    "a tool is a free function without `self`; implement the trait `Tool` for one with a state",
                ));
            }
        };
        let (inner, by_reference) = match typed.ty.as_ref() {
            Type::Reference(reference) => (reference.elem.as_ref(), true),
            other => (other, false),
        };
        if is_named(inner, "ToolContext") {
            return Ok(Self::Context { by_reference, span: typed.span() });
        }
        if is_named(inner, "Extension") {
            if by_reference {
                return Err(Error::new(
                    typed.ty.span(),
                    "an extension is taken by value: `Extension<T>` instead of `&Extension<T>`",
                ));
            }
            return Ok(Self::Extension { ty: inner });
        }
        if by_reference {
            return Err(Error::new(
                typed.ty.span(),
                "an argument is read from JSON, so it must own its data: `String` instead of `&str`",
            ));
        }
        match typed.pat.as_ref() {
            Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
                Ok(Self::Field { ident: &pattern.ident, typed })
            }
            other => {
                Err(Error::new(other.span(), "an argument needs a plain name: it is the name the model uses"))
            }
        }
    }

    fn span(&self) -> Span {
        match self {
            Self::Context { span, .. } => *span,
            Self::Extension { ty } => ty.span(),
            Self::Field { typed, .. } => typed.span(),
        }
    }

    fn field(&self) -> Option<TokenStream> {
        match self {
            Self::Context { .. } | Self::Extension { .. } => None,
            Self::Field { ident, typed } => {
                let (attrs, ty) = (&typed.attrs, &typed.ty);
                Some(quote!(#(#attrs)* #ident: #ty,))
            }
        }
    }

    fn argument(&self) -> TokenStream {
        match self {
            Self::Extension { ty } => quote_spanned!(ty.span()=> <#ty>::from_context(&__ctx)?),
            Self::Context { by_reference: true, .. } => quote!(&__ctx),
            Self::Context { by_reference: false, .. } => quote!(__ctx.clone()),
            Self::Field { ident, .. } => quote!(__arguments.#ident),
        }
    }
}

/// Types are told by their names: a macro sees nothing else of them.
fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn expand(attribute: &str, item: &str) -> Result<String> {
        let stream = |text: &str| TokenStream::from_str(text).unwrap();
        tool(stream(attribute), stream(item)).map(|tokens| tokens.to_string())
    }

    fn error(attribute: &str, item: &str) -> String {
        expand(attribute, item).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_a_tool_is_refused_in_words() {
        for (item, words) in [
            ("/// D\n fn f() {}", "`async fn`"),
            ("struct S;", "belongs on an async fn"),
            ("/// D\n async fn f(&self) {}", "without `self`"),
            ("/// D\n async fn f<T>(x: T) {}", "cannot be generic"),
            ("/// D\n async fn f(x: &str) {}", "`String` instead of `&str`"),
            ("/// D\n async fn f((a, b): (u8, u8)) {}", "plain name"),
            ("/// D\n async fn f(a: &Extension<u8>) {}", "by value"),
            ("/// D\n async fn f(a: &ToolContext, b: ToolContext) {}", "once only"),
            ("async fn f() {}", "needs a doc comment"),
            ("///  \n async fn f() {}", "needs a doc comment"),
        ] {
            let error = error("", item);
            assert!(error.contains(words), "{item}: {error}");
        }
    }

    #[test]
    fn a_wrong_option_is_refused_in_words() {
        let item = "/// D\n async fn f() {}";
        for (attribute, words) in [
            ("effects = \"read\"", "knows `effect`, `reach`, `timeout`, `name` and `crate`"),
            ("effect = \"safe\"", "\"read\", \"idempotent\" or \"write\""),
            ("effect = \"read\", effect = \"read\"", "twice"),
            ("reach = \"disk\"", "\"files\", \"network\" or \"anything\""),
            ("effect = 1", "expected string literal"),
            ("timeout = \"soon\"", "such as \"30s\""),
            ("timeout = \"0s\"", "above 0"),
            ("timeout = \"99999999999999999999s\"", "whole number"),
            ("name = \"a b\"", "1 to 64"),
            ("name = \"\"", "1 to 64"),
        ] {
            let error = error(attribute, item);
            assert!(error.contains(words), "{attribute}: {error}");
        }
    }

    #[test]
    fn the_library_is_found_through_the_facade_unless_told_otherwise() {
        let item = "/// D\n pub async fn f(x: u8) {}";
        let usual = expand("", item).unwrap();
        assert!(usual.contains(":: ergane :: tool_support :: Tool for f"), "{usual}");
        assert!(usual.contains("\"::ergane::tool_support::private::serde\""), "{usual}");
        assert!(usual.contains("Effect :: Write"), "forgetting the effect is not dangerous");
        let told = expand("crate = \"my::place\"", item).unwrap();
        assert!(told.contains("my :: place :: Tool for f") && !told.contains("tool_support"), "{told}");
    }

    #[test]
    fn conditions_and_other_attributes_go_where_they_belong() {
        let text = expand("", "#[cfg(unix)] #[allow(unused)] /// D\n async fn f(#[serde(default)] x: u8) {}")
            .unwrap();
        assert_eq!(text.matches("# [cfg (unix)]").count(), 2, "{text}");
        assert!(text.contains("# [allow (unused)] async fn __f (x : u8)"), "{text}");
        assert!(text.contains("# [serde (default)] x : u8"), "{text}");
    }
}
