package keepalived

import "strings"

// White space, as lib/parser.c has it: between words, and at the ends of a line.
const (
	whiteSpace = " \t\f\n\r\v"
	blank      = " \t"
)

// uncomment takes the comment off a line, the blanks at both ends, and the
// backslash before a # or ! that is none (decomment in lib/parser.c). A backslash
// at the very end stays, also behind a comment. open reports a quote that is not
// closed on the line.
func uncomment(line string) (text string, open bool) {
	b := []byte(strings.TrimLeft(line, blank))
	comment, continued := -1, false
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			if comment < 0 {
				open = !open
			}
		case '\\':
			if i+1 == len(b) {
				b, continued = b[:i], true
			} else if !open && (b[i+1] == '#' || b[i+1] == '!') {
				b = append(b[:i], b[i+1:]...)
			} else {
				i++
			}
		case '#', '!':
			if !open && comment < 0 {
				comment = i
			}
		}
	}
	if comment >= 0 {
		b = b[:comment]
	}
	text = strings.TrimRight(string(b), blank)
	if continued {
		text += `\`
	}
	return text, open
}

// split cuts a line at white space; text between double quotes is one word
// (alloc_strvec_r in lib/parser.c). ok is false when a quote is not closed.
func split(line string) (words []string, ok bool) {
	for {
		line = strings.TrimLeft(line, whiteSpace)
		if line == "" {
			return words, true
		}
		if line[0] == '"' {
			word, rest, closed := strings.Cut(line[1:], `"`)
			if !closed {
				return words, false
			}
			words, line = append(words, word), rest
			continue
		}
		end := strings.IndexAny(line, whiteSpace+`"`)
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
}

// splitEscaped cuts a line at white space as a shell would: with both kinds of
// quotes, within words too, and with escapes (alloc_strvec_quoted_escaped in
// lib/parser.c). ok is false when a quote is not closed, or an escape has nothing
// behind it: keepalived takes no word of such a line.
func splitEscaped(line string) (words []string, ok bool) {
	for {
		line = strings.TrimLeft(line, whiteSpace)
		if line == "" {
			return words, true
		}
		var word []byte
		quote := byte(0)
	letters:
		for line != "" {
			c := line[0]
			switch {
			case c == '\\':
				if len(line) == 1 {
					return nil, false
				}
				var n int
				c, n = unescape(line[1:])
				word, line = append(word, c), line[1+n:]
				continue
			case c == quote:
				quote = 0
			case quote != 0:
				word = append(word, c)
			case c == '"' || c == '\'':
				quote = c
			case strings.IndexByte(whiteSpace, c) >= 0:
				break letters
			default:
				word = append(word, c)
			}
			line = line[1:]
		}
		if quote != 0 {
			return nil, false
		}
		words = append(words, string(word))
	}
}

// unescape returns what the escape at the beginning of s stands for, and how much
// of s it takes; the backslash is gone already.
func unescape(s string) (c byte, n int) {
	switch {
	case s[0] == 'x' && len(s) > 1 && hexValue(s[1]) >= 0:
		for n = 1; n < len(s) && hexValue(s[n]) >= 0; n++ {
			c = c<<4 | byte(hexValue(s[n]))
		}
		return c, n
	case s[0] == 'c' && len(s) > 1:
		return s[1] & 0x1f, 2
	case s[0] >= '0' && s[0] <= '7':
		for n = 0; n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7'; n++ {
			c = c<<3 + s[n] - '0'
		}
		return c, n
	}
	if i := strings.IndexByte("abEfnrtv", s[0]); i >= 0 {
		return "\a\b\x1b\f\n\r\t\v"[i], 1
	}
	return s[0], 1
}

// hexValue returns the value of a hexadecimal digit, -1 for another letter.
func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// cutBrace cuts a line before its first brace, or behind one that it begins with:
// every brace is a line of its own to keepalived, unless it stands in double
// quotes (read_line in lib/parser.c).
func cutBrace(line string) (head, rest string) {
	if line == "" {
		return "", ""
	}
	if line[0] == '{' || line[0] == '}' {
		return line[:1], strings.Trim(line[1:], blank)
	}
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '{', '}':
			return strings.TrimRight(line[:i], blank), line[i:]
		case '"':
			end := strings.IndexByte(line[i+1:], '"')
			if end < 0 {
				return line, ""
			}
			i += end + 1
		}
	}
	return line, ""
}

// isLetter and isDigit are those of the C locale.
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
