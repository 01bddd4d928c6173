use super::*;

#[test]
fn a_page_is_known_by_its_tag() {
    let open = Config::default().openapi;
    let page = Page::new("/a", "text/plain", Bytes::from_static(b"a"), &open);
    let other = Page::new("/a", "text/plain", Bytes::from_static(b"b"), &open);
    assert!(page.is_known(&page.etag));
    assert!(page.is_known(&format!("{}, W/{}", other.etag, page.etag)));
    assert!(page.is_known("*"));
    assert!(!page.is_known(&other.etag));
    assert!(!page.is_known(""));
}
