package bgp

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// notification is the body of a NOTIFICATION message.
type notification struct {
	code, subcode byte
	text          string // what an administrator wrote (RFC 9003), made printable
}

// Cease subcodes (RFC 4486, RFC 8538).
const (
	ceaseShutdown     = 2
	ceaseDeconfigured = 3
	ceaseReset        = 4
	ceaseOutOfMemory  = 8
	ceaseHardReset    = 9
)

// maxText bounds what of a router's words goes into logs and Events.
const maxText = 128

func decodeNotification(body []byte) (notification, error) {
	if len(body) < 2 {
		return notification{}, &protocolError{errHeader, 2, fmt.Sprintf("a NOTIFICATION of %d bytes", headerLen+len(body))}
	}
	n := notification{code: body[0], subcode: body[1]}
	data := body[2:]
	if n.code == errCease && n.subcode == ceaseHardReset && len(data) >= 2 {
		n.subcode, data = data[1], data[2:] // RFC 8538, section 3.1: the real one is inside
	}
	if n.code == errCease && (n.subcode == ceaseShutdown || n.subcode == ceaseReset) && len(data) > 1 && int(data[0]) <= len(data)-1 {
		n.text = printable(data[1 : 1+int(data[0])])
	}
	return n, nil
}

// printable keeps the letters of a router's message and nothing that could
// change a terminal or a log.
func printable(b []byte) string {
	var s strings.Builder
	for _, r := range strings.ToValidUTF8(string(b), "") {
		if !unicode.IsPrint(r) {
			r = ' '
		}
		if s.Len()+utf8.RuneLen(r) > maxText {
			break
		}
		s.WriteRune(r)
	}
	return strings.TrimSpace(s.String())
}

// String names the error as RFC 4271 section 6, RFC 4486 and RFC 9384 do.
func (n notification) String() string {
	name := notificationNames[[2]byte{n.code, n.subcode}]
	if name == "" {
		name = notificationNames[[2]byte{n.code}]
	}
	if name == "" {
		name = "unknown error"
	}
	s := fmt.Sprintf("%s (%d/%d)", name, n.code, n.subcode)
	if n.text != "" {
		s += fmt.Sprintf(" %q", n.text)
	}
	return s
}

// hint is what an operator can do about an error that the router reported.
func (n notification) hint() string {
	switch [2]byte{n.code, n.subcode} {
	case [2]byte{2, 2}:
		return "the router expects another ASN of this node: compare my-asn with its configuration"
	case [2]byte{2, 3}:
		return "the router refuses this node's router-id: another speaker may be using it"
	case [2]byte{2, 6}:
		return "the router refuses the hold-time"
	case [2]byte{6, 5}:
		return "the router is not configured to accept this node"
	case [2]byte{6, 1}:
		return "the router's limit of prefixes for this session is reached"
	case [2]byte{6, 7}:
		return "the router has another connection with this node"
	}
	return ""
}

var notificationNames = map[[2]byte]string{
	{1, 0}:  "message header error",
	{1, 1}:  "connection not synchronised",
	{1, 2}:  "bad message length",
	{1, 3}:  "bad message type",
	{2, 0}:  "OPEN message error",
	{2, 1}:  "unsupported version",
	{2, 2}:  "bad peer AS",
	{2, 3}:  "bad BGP identifier",
	{2, 4}:  "unsupported optional parameter",
	{2, 6}:  "unacceptable hold time",
	{2, 7}:  "unsupported capability",
	{2, 11}: "role mismatch",
	{3, 0}:  "UPDATE message error",
	{4, 0}:  "hold timer expired",
	{5, 0}:  "finite state machine error",
	{6, 0}:  "cease",
	{6, 1}:  "maximum number of prefixes reached",
	{6, 2}:  "administrative shutdown",
	{6, 3}:  "peer de-configured",
	{6, 4}:  "administrative reset",
	{6, 5}:  "connection rejected",
	{6, 6}:  "other configuration change",
	{6, 7}:  "connection collision resolution",
	{6, 8}:  "out of resources",
	{6, 9}:  "hard reset",
	{6, 10}: "BFD down",
	{7, 0}:  "ROUTE-REFRESH message error",
}
