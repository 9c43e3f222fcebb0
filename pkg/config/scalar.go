package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// text returns what a scalar says, however it is written: 64512:1, "x" and yes
// are all text where text is wanted. An absent value is the empty text; ok is
// false after a mistake only.
func (d *decoder) text(v value) (text string, ok bool) {
	if v.absent() {
		return "", true
	}
	if !d.isScalar(v, "text") {
		return "", false
	}
	return v.node.Value, true
}

// isScalar reports whether a value that is there is a scalar, and records a
// mistake if not.
func (d *decoder) isScalar(v value, wanted string) bool {
	if v.node.Kind != yaml.ScalarNode {
		d.errorf(v.place, "is %s, should be %s", kindOf(v.node), wanted)
		return false
	}
	return true
}

// number returns a key's value, between the key's bounds; its default when it
// is absent; 0 after a mistake.
func (o object) number(name string) uint64 {
	k, _ := o.section.key(name)
	v := o.get(name)
	if v.absent() {
		if k.required {
			o.missing(name)
		}
		n, _ := strconv.ParseUint(k.def, 10, 64)
		return n
	}
	if !o.isScalar(v, "a whole number") {
		return 0
	}
	text := v.node.Value
	if isText(v.node) {
		o.errorf(v.place, "%q is in quotes, which makes it text", show(text)).hint("write it without quotes")
		return 0
	}
	n, ok := parseNumber(text)
	switch {
	case !ok:
		e := o.errorf(v.place, "%q is not a whole number", show(text))
		e.hint("%d to %d", k.min, k.max)
		if high, low, isDotted := dotted(text); isDotted && strings.HasSuffix(name, "-asn") {
			e.hint("write the AS number as one number: %d", high<<16|low)
		}
		return 0
	case n < k.min || n > k.max || strings.HasPrefix(text, "-"):
		o.errorf(v.place, "%s is out of range", show(text)).hint("%d to %d", k.min, k.max)
		return 0
	}
	return n
}

// parseNumber reads a YAML integer: decimal, 0x, 0o, 0b, a leading 0 for
// octal, with _ between digits. A negative one is returned as its magnitude;
// one too large for 64 bits as the largest number.
func parseNumber(text string) (uint64, bool) {
	digits := strings.TrimLeft(strings.ReplaceAll(text, "_", ""), "+-")
	if len(text)-len(strings.TrimLeft(text, "+-")) > 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 0, 64)
	if err != nil && n == math.MaxUint64 {
		return n, true
	}
	return n, err == nil
}

// dotted reads an AS number written as two halves (RFC 5396).
func dotted(text string) (high, low uint64, ok bool) {
	a, b, _ := strings.Cut(text, ".")
	high, err1 := strconv.ParseUint(a, 10, 16)
	low, err2 := strconv.ParseUint(b, 10, 16)
	return high, low, err1 == nil && err2 == nil
}

// flag returns a key's value, or its default when it is absent.
func (o object) flag(name string) bool {
	k, _ := o.section.key(name)
	v := o.get(name)
	if v.absent() {
		return k.def == "true"
	}
	if !o.isScalar(v, "true or false") {
		return false
	}
	b, ok := parseFlag(v.node.Value)
	switch {
	case !ok:
		o.errorf(v.place, "%q is neither true nor false", show(v.node.Value)).hint("write true or false")
	case isText(v.node):
		o.errorf(v.place, "%q is in quotes, which makes it text", v.node.Value).hint("write %t", b)
	}
	return b
}

// parseFlag knows the booleans of YAML 1.1.
func parseFlag(text string) (is, ok bool) {
	switch text {
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true, true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false, true
	}
	return false, false
}

// duration returns a key's value cut to whole seconds, or its default when it
// is absent; ok is false after a mistake, and when it is absent and there is
// no default.
func (o object) duration(name string) (d time.Duration, ok bool) {
	k, _ := o.section.key(name)
	v := o.get(name)
	text := k.def
	switch {
	case v.absent() && k.def == "":
		return 0, false
	case !v.absent() && !o.isScalar(v, "a duration"):
		return 0, false
	case !v.absent():
		text = v.node.Value
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		e := o.errorf(v.place, "%q is not a duration", show(text)).hint("write it with its unit, such as 90s or 2m")
		if _, err := strconv.ParseUint(text, 10, 32); err == nil {
			e.hint("add the unit: %ss", text)
		}
		return 0, false
	}
	if d < 0 {
		o.errorf(v.place, "%s is negative", show(text)).hint("%s", k.rule)
		return 0, false
	}
	return d.Truncate(time.Second), true
}

// written returns the value of a key that has a scalar, as the document has it.
func (o object) written(name string) string { return show(o.get(name).node.Value) }

// address returns a key's IP address, without zone and never IPv4 in IPv6; the
// zero Addr when it is absent or wrong.
func (o object) address(name string) netip.Addr {
	k, _ := o.section.key(name)
	v := o.get(name)
	if v.absent() {
		if k.required {
			o.missing(name)
		}
		return netip.Addr{}
	}
	if !o.isScalar(v, "an IP address") {
		return netip.Addr{}
	}
	text := v.node.Value
	a, err := netip.ParseAddr(text)
	if err != nil {
		e := o.errorf(v.place, "%q is not an IP address", show(text))
		if p, err := netip.ParsePrefix(text); err == nil {
			e.hint("write it without a prefix length: %s", p.Addr())
		} else if ap, err := netip.ParseAddrPort(text); err == nil {
			e.hint("write it without a port: %s", ap.Addr())
		} else {
			e.hint("write IPv4 such as 10.0.0.1 or IPv6 such as 2001:db8::1; host names are not looked up")
		}
		return netip.Addr{}
	}
	if a.Zone() != "" {
		o.errorf(v.place, "%q has a zone", show(text)).hint("use an address that needs none, such as a global one")
		return netip.Addr{}
	}
	return a.Unmap()
}

// word returns the text of a required key; ok is false after a mistake, such as
// that it is not there.
func (o object) word(name string) (text string, ok bool) {
	text, ok = o.text(o.get(name))
	if ok && text == "" {
		o.missing(name)
		return "", false
	}
	return text, ok
}

// name returns a key's value, which others may refer to: printable, without
// spaces around it.
func (o object) name(name string) string {
	k, _ := o.section.key(name)
	v := o.get(name)
	text, ok := o.text(v)
	switch {
	case text == "" && k.required && ok:
		o.missing(name)
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		o.errorf(v.place, "%q has characters that can't be printed", show(text)).hint("use letters, digits and dashes")
	case strings.TrimSpace(text) != text:
		o.errorf(v.place, "%q begins or ends with a space", show(text)).hint("write %s", show(strings.TrimSpace(text)))
	}
	return text
}
