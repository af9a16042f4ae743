//! The status page: one file that draws what `/api/events` tells, and asks nobody else for anything.

/// The page, as HTML in UTF-8.
#[cfg(feature = "page")]
pub const PAGE: &str = include_str!("page.html");

/// What stands in its place where it is not built in, as HTML in UTF-8.
#[cfg(not(feature = "page"))]
pub const PAGE: &str = "\
<!doctype html><html lang=en><meta charset=utf-8><title>Veylor</title>\
<p>This Veylor was built without its status page. It answers <a href=/api/status>/api/status</a>, \
<a href=/api/events>/api/events</a>, <a href=/metrics>/metrics</a>, <a href=/readyz>/readyz</a> and \
<a href=/healthz>/healthz</a>.
";

/// The header `Content-Security-Policy` that the page is to be served with: its own script, its
/// own style, its own door, and nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; \
     script-src 'sha256-tdQBmRhoENT8JUBMmLhoDvkKvw3ELMyJ97QH2JokZWc='; \
     style-src 'sha256-V1uQBKhWw91uT33I4lYgTQLr/mFfeg39LJ0Xkur+1Ck='; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(test)]
#[cfg(feature = "page")]
mod tests {
    use data_encoding::BASE64;
    use ring::digest::{SHA256, digest};

    use super::*;

    #[test]
    fn policy_names_the_script_and_the_style_of_the_page() {
        for tag in ["script", "style"] {
            let expected = format!("{tag}-src 'sha256-{}';", hash(inside(tag)));
            assert!(CONTENT_SECURITY_POLICY.contains(&expected), "the page needs {expected}");
        }
    }

    #[test]
    fn page_has_no_code_beside_its_one_script() {
        for tag in ["<script", "<style", "</script", "</style"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
        }
        for code in ["innerHTML", "outerHTML", "insertAdjacentHTML", " style=", "javascript:"] {
            assert!(!PAGE.contains(code), "{code}");
        }
    }

    #[test]
    fn page_asks_nobody_else() {
        let elsewhere: Vec<_> =
            PAGE.match_indices("://").map(|(at, _)| &PAGE[at - 5..at + 14]).collect();
        // The name of SVG is an address that nobody visits.
        assert!(elsewhere.iter().all(|url| url.ends_with("://www.w3.org/")), "{elsewhere:?}");
    }

    #[test]
    fn page_stays_small() {
        assert!(PAGE.len() < 40 * 1024, "{} bytes", PAGE.len());
    }

    fn inside(tag: &str) -> &'static str {
        let (_, rest) = PAGE.split_once(&format!("<{tag}>")).unwrap();
        rest.split_once(&format!("</{tag}>")).unwrap().0
    }

    fn hash(text: &str) -> String {
        BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref())
    }
}
