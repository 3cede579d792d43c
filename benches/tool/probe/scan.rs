//! A scanner for flat JSON objects with store, price and time.
//!
//! Invariants: fields may come in any order with any white space; unknown scalars are skipped; on anything
//! else (escapes, nesting, exponents, more than two decimals) it gives up. Start at [`Sale::scan`].

/// One sale, borrowed from its record.
pub struct Sale<'a> {
    pub store: &'a [u8],
    pub cents: i64,
    pub ts: i64,
}

impl<'a> Sale<'a> {
    /// `None` where the text is not a flat object with the three fields.
    #[inline]
    pub fn scan(text: &'a [u8]) -> Option<Sale<'a>> {
        let (mut store, mut cents, mut ts) = (None, None, None);
        let mut at = spaces(text, 0);
        if *text.get(at)? != b'{' {
            return None;
        }
        loop {
            let (name, after) = string(text, spaces(text, at + 1))?;
            at = spaces(text, after);
            if *text.get(at)? != b':' {
                return None;
            }
            at = spaces(text, at + 1);
            match *text.get(at)? {
                b'"' => {
                    let (value, after) = string(text, at)?;
                    if name == b"store" {
                        store = Some(value);
                    }
                    at = after;
                }
                b'-' | b'0'..=b'9' => {
                    let (number, decimals, after) = number(text, at)?;
                    match (name, decimals) {
                        (b"price", 0) => cents = Some(number * 100),
                        (b"price", 1) => cents = Some(number * 10),
                        (b"price", 2) => cents = Some(number),
                        (b"ts", 0) => ts = Some(number),
                        (b"price" | b"ts", _) => return None,
                        _ => (),
                    }
                    at = after;
                }
                b'{' | b'[' => return None,
                _ => at += text[at..].iter().position(|byte| matches!(byte, b',' | b'}'))?,
            }
            at = spaces(text, at);
            match *text.get(at)? {
                b',' => (),
                b'}' => break,
                _ => return None,
            }
        }
        Some(Sale { store: store?, cents: cents?, ts: ts? })
    }
}

/// The first place from `at` that is not white space.
#[inline]
fn spaces(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// The string without escapes that begins at `at`, and the place behind it.
#[inline]
fn string(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let mut end = at + 1;
    loop {
        match *text.get(end)? {
            b'"' => return Some((&text[at + 1..end], end + 1)),
            b'\\' => return None,
            _ => end += 1,
        }
    }
}

/// The number at `at` without its point, the count of its decimals, and the place behind it.
#[inline]
fn number(text: &[u8], mut at: usize) -> Option<(i64, u32, usize)> {
    let is_negative = text[at] == b'-';
    at += usize::from(is_negative);
    let (mut value, mut decimals, mut has_point) = (0_i64, 0, false);
    loop {
        match *text.get(at)? {
            digit @ b'0'..=b'9' => {
                value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
                decimals += u32::from(has_point);
            }
            b'.' if !has_point => has_point = true,
            b'e' | b'E' | b'.' => return None,
            _ => return Some((if is_negative { -value } else { value }, decimals, at)),
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Sale;

    fn check(text: &str, expected: Option<(&str, i64, i64)>) {
        let sale = Sale::scan(text.as_bytes());
        let found = sale
            .map(|sale| (String::from_utf8_lossy(sale.store).into_owned(), sale.cents, sale.ts));
        assert_eq!(
            found,
            expected.map(|(store, cents, ts)| (store.to_owned(), cents, ts)),
            "{text}"
        );
    }

    #[test]
    fn fields_may_come_in_any_order_with_any_white_space() {
        let expected = Some(("store-7", 1230, 5));
        check(r#"{"store": "store-7", "item": "x", "price": 12.30, "ts": 5}"#, expected);
        check(r#" { "ts":5,"price":12.3 , "more":null, "store":"store-7" } "#, expected);
        check(r#"{"store":"s","price":-1,"ts":-2}"#, Some(("s", -100, -2)));
    }

    #[test]
    fn what_is_not_flat_and_plain_is_given_up() {
        check(r#"{"store":"s","price":1.234,"ts":5}"#, None);
        check(r#"{"store":"s","price":1e2,"ts":5}"#, None);
        check(r#"{"store":"\u0041","price":1,"ts":5}"#, None);
        check(r#"{"store":{},"price":1,"ts":5}"#, None);
        check(r#"{"store":"s","price":1}"#, None);
        check(r#"{"store":"s","price":1,"ts":5"#, None);
        check("", None);
    }
}
