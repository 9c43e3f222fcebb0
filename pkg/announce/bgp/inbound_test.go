package bgp

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gobgp "github.com/osrg/gobgp/v3/pkg/packet/bgp"
	"golang.org/x/time/rate"
)

func newInbound(p Peer) *inbound {
	return &inbound{peer: p, refreshes: rate.NewLimiter(rate.Every(refreshInterval), refreshBurst)}
}

var (
	holding = Peer{LocalASN: 64512, PeerASN: 65000, RouterID: addr("10.1.0.1"), HoldTime: 9 * time.Second}
	t0      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// with is holding, changed.
func with(change func(*Peer)) Peer {
	p := holding
	change(&p)
	return p
}

// routerOpen is an OPEN as FRR sends it, with capabilities that the guard does
// not know.
func routerOpen() []byte {
	caps := unhex("0104 0001 0001", "0104 0002 0001", "8000", "0200", "4600", "4104 0000fde8",
		"0600", "4506 0001 0101 0201", "4905 03727431 00", "4006 c078 0001 0100")
	body := append(unhex("04 fde8 0009 0aff0001"), byte(len(caps)+2), paramCaps, byte(len(caps)))
	return message(typeOpen, append(body, caps...)...)
}

func unhex(parts ...string) []byte {
	var out []byte
	for _, p := range parts {
		b, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(p), []byte(" "), nil)))
		if err != nil {
			panic(err)
		}
		out = append(out, b...)
	}
	return out
}

func TestOpenIsRebuiltFromKnownCapabilities(t *testing.T) {
	o, err := decodeOpen(messageBody(routerOpen()))
	if err != nil {
		t.Fatal(err)
	}
	want := open{
		version: 4, asn: 65000, holdTime: 9, routerID: [4]byte{10, 255, 0, 1},
		multiprotocol: true, ipv4: true, ipv6: true, refresh: true, asn4: 65000, hasASN4: true,
		restart: restart{offered: true, flags: 0xc, seconds: 120, ipv4: true},
	}
	if diff := cmp.Diff(want, *o, cmp.AllowUnexported(open{}, restart{})); diff != "" {
		t.Error(diff)
	}
	again, err := decodeOpen(messageBody(o.encode()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, again, cmp.AllowUnexported(open{}, restart{})); diff != "" {
		t.Errorf("encoded and decoded: %s", diff)
	}
	if bytes.Contains(o.encode(), []byte("rt1")) {
		t.Error("the host name has passed")
	}
}

func TestOpenForms(t *testing.T) {
	fixed := "04 fde8 0009 0aff0001 "
	for name, c := range map[string]struct {
		body          string
		code, subcode byte // 0: accepted
	}{
		"no parameters":               {body: fixed + "00"},
		"a parameter of another kind": {body: fixed + "04 0102 0000"},
		"a capability of wrong size":  {body: fixed + "05 0203 010100"},
		"extended length":             {body: fixed + "ff ff 0009 02 0006 0104 00010001"},
		"too short":                   {body: "04 fde8", code: 1, subcode: 2},
		"length beyond the end":       {body: fixed + "08 0206 0104 0001", code: 2},
		"bytes after the end":         {body: fixed + "00 00", code: 2},
		"parameter beyond the end":    {body: fixed + "04 02ff 0104", code: 2},
		"capability beyond the end":   {body: fixed + "05 0203 01ff 00", code: 2},
		"half a parameter":            {body: fixed + "01 02", code: 2},
		"extended, wrong length":      {body: fixed + "ff ff 0010 02 0006 0104 00010001", code: 2},
		"only EVPN":                   {body: fixed + "08 0206 0104 0019 0046", code: 2, subcode: 7},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeOpen(unhex(c.body))
			var bad *protocolError
			if errors.As(err, &bad); (c.code == 0) != (err == nil) || bad != nil && (bad.code != c.code || bad.subcode != c.subcode) {
				t.Errorf("got %#v, want %d/%d", err, c.code, c.subcode)
			}
		})
	}
}

// established returns a session in which both OPENs are exchanged.
func established(t *testing.T, p Peer) *inbound {
	t.Helper()
	in := newInbound(p)
	for _, m := range [][]byte{routerOpen(), message(typeKeepalive)} {
		if _, err := in.next(m, t0); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

func TestMessagesOfAnEstablishedSession(t *testing.T) {
	keepalive := message(typeKeepalive)
	for name, c := range map[string]struct {
		msg           []byte
		want          []byte
		code, subcode byte
	}{
		"KEEPALIVE":                    {msg: keepalive, want: keepalive},
		"KEEPALIVE with a body":        {msg: message(typeKeepalive, 0), code: 1, subcode: 2},
		"UPDATE":                       {msg: message(typeUpdate, unhex("0000 0000 20c0000201")...), want: keepalive},
		"UPDATE of no size":            {msg: message(typeUpdate), want: keepalive},
		"End-of-RIB":                   {msg: message(typeUpdate, unhex("0000 0000")...), want: message(typeUpdate, 0, 0, 0, 0)},
		"End-of-RIB for IPv6":          {msg: message(typeUpdate, unhex("0000 0006 800f03 0002 01")...), want: message(typeUpdate, unhex("0000 0006 800f03 0002 01")...)},
		"End-of-RIB, extended length":  {msg: message(typeUpdate, unhex("0000 0007 900f0003 0002 01")...), want: message(typeUpdate, unhex("0000 0006 800f03 0002 01")...)},
		"End-of-RIB for EVPN":          {msg: message(typeUpdate, unhex("0000 0006 800f03 0019 46")...), want: keepalive},
		"ROUTE-REFRESH":                {msg: message(typeRouteRefresh, 0, 1, 0, 1), want: message(typeRouteRefresh, 0, 1, 0, 1)},
		"ROUTE-REFRESH for EVPN":       {msg: message(typeRouteRefresh, 0, 25, 0, 70), want: keepalive},
		"ROUTE-REFRESH, RFC 7313":      {msg: message(typeRouteRefresh, 0, 1, 1, 1), want: keepalive},
		"ROUTE-REFRESH with a filter":  {msg: message(typeRouteRefresh, 0, 1, 0, 1, 2, 128, 0, 0), code: 1, subcode: 2},
		"NOTIFICATION":                 {msg: message(typeNotification, 6, 2, 3, 'b', 'y', 'e'), want: message(typeNotification, 6, 2)},
		"NOTIFICATION of one byte":     {msg: message(typeNotification, 6), code: 1, subcode: 2},
		"second OPEN":                  {msg: routerOpen(), code: 5, subcode: 3},
		"type 0":                       {msg: message(0), code: 1, subcode: 3},
		"type 6":                       {msg: message(6), code: 1, subcode: 3},
		"type 128, ROUTE-REFRESH once": {msg: message(128, 0, 1, 0, 1), code: 1, subcode: 3},
		"type 255":                     {msg: message(255), code: 1, subcode: 3},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := established(t, holding).next(c.msg, t0.Add(time.Second))
			var bad *protocolError
			errors.As(err, &bad)
			switch {
			case c.code != 0 && (bad == nil || bad.code != c.code || bad.subcode != c.subcode):
				t.Errorf("got error %#v, want %d/%d", err, c.code, c.subcode)
			case c.code == 0 && (err != nil || !bytes.Equal(got, c.want)):
				t.Errorf("got %x, %v, want %x", got, err, c.want)
			}
		})
	}
}

// These bytes each ended a process that let GoBGP v3.37.0 decode them.
func TestWhatGoBGPDoesNotSurvive(t *testing.T) {
	update := func(attribute string) []byte {
		a := unhex(attribute)
		return message(typeUpdate, append([]byte{0, 0, byte(len(a) >> 8), byte(len(a))}, a...)...)
	}
	crashes := map[string][]byte{
		"unknown type":        message(6),
		"MP_REACH, 3 bytes":   update("800e03 000201"),
		"EVPN type 1, short":  update("800e0e 0019 46 04 0a010001 00 01 02 0000 00"),
		"EVPN type 2, short":  update("800e0e 0019 46 04 0a010001 00 02 02 0000 00"),
		"EVPN type 4, short":  update("800e0e 0019 46 04 0a010001 00 04 02 0000 00"),
		"EVPN type 5, short":  update("800e0e 0019 46 04 0a010001 00 05 02 0000 00"),
		"MP_UNREACH flowspec": update("800f0c000285010db8000004a4a4dc85"),
		"prefix SID":          update("c02806 050000ff0000"),
		"SRv6 L3, short":      update("c02809 050006 00 0100 03 0000"),
		"SRv6 L2, short":      update("c02809 060006 00 0100 03 0000"),
	}
	for name, msg := range crashes {
		t.Run(name, func(t *testing.T) {
			out, err := established(t, holding).next(msg, t0.Add(time.Second))
			if err == nil && !bytes.Equal(out, message(typeKeepalive)) {
				t.Errorf("passed as %x", out)
			}
			if _, err := newInbound(holding).next(msg, t0); err == nil {
				t.Error("passed before the OPEN")
			}
		})
	}
}

func TestOrderOfMessages(t *testing.T) {
	for name, c := range map[string]struct {
		msgs    [][]byte
		subcode byte
	}{
		"KEEPALIVE first":          {[][]byte{message(typeKeepalive)}, 1},
		"UPDATE first":             {[][]byte{message(typeUpdate, 0, 0, 0, 0)}, 1},
		"UPDATE before KEEPALIVE":  {[][]byte{routerOpen(), message(typeUpdate, 0, 0, 0, 0)}, 2},
		"two OPENs":                {[][]byte{routerOpen(), routerOpen()}, 2},
		"REFRESH before KEEPALIVE": {[][]byte{routerOpen(), message(typeRouteRefresh, 0, 1, 0, 1)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			in := newInbound(holding)
			var err error
			for _, m := range c.msgs {
				_, err = in.next(m, t0)
			}
			var bad *protocolError
			if !errors.As(err, &bad) || bad.code != errFSM || bad.subcode != c.subcode {
				t.Errorf("got %#v, want %d/%d", err, errFSM, c.subcode)
			}
		})
	}
}

func TestFloodsAreThinned(t *testing.T) {
	in := established(t, holding)
	passed := 0
	for i := range 10_000 { // in one second
		out, err := in.next(message(typeUpdate, 0, 0, 0, 1, 0), t0.Add(time.Duration(i)*100*time.Microsecond))
		if err != nil {
			t.Fatal(err)
		}
		if out != nil {
			passed++
		}
	}
	if passed > 10 || passed < 9 {
		t.Errorf("%d KEEPALIVEs for 10000 UPDATEs in a second", passed)
	}
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, err = in.next(message(typeRouteRefresh, 0, 1, 0, 1), t0.Add(time.Minute))
	}
	if err == nil || n != refreshBurst+1 {
		t.Errorf("%d ROUTE-REFRESHes passed", n-1)
	}
}

// The library must never hear of a hold time of 0, whoever asks for it.
func TestNoHoldTime(t *testing.T) {
	none := routerOpen()
	copy(none[headerLen+3:], []byte{0, 0})
	for name, c := range map[string]struct {
		peer Peer
		open []byte
	}{
		"ours":   {with(func(p *Peer) { p.HoldTime = 0 }), routerOpen()},
		"theirs": {holding, none},
	} {
		in := newInbound(c.peer)
		out, err := in.next(c.open, t0)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := decodeOpen(messageBody(out)); err != nil || o.holdTime != 90 || !in.noHoldTime() {
			t.Errorf("%s: the library is told %+v, %v", name, o, err)
		}
	}
	if in := newInbound(holding); in.noHoldTime() {
		t.Error("none although both have one")
	}
}

func TestNotificationTexts(t *testing.T) {
	for want, body := range map[string]string{
		`bad peer AS (2/2)`: "0202 fde8",
		`administrative shutdown (6/2) "work on rack 3"`: "0602 0e 776f726b206f6e207261636b2033",
		`administrative shutdown (6/2) "a [31mb"`:        "0602 07 61 1b 5b33316d 62",
		`administrative shutdown (6/2)`:                  "0602 ff 61",
		`peer de-configured (6/3)`:                       "0609 0603",
		`hard reset (6/9)`:                               "0609",
		`cease (6/77)`:                                   "064d",
		`unknown error (99/1)`:                           "6301",
	} {
		n, err := decodeNotification(unhex(body))
		if err != nil || n.String() != want {
			t.Errorf("%s: got %s, %v, want %s", body, n, err, want)
		}
	}
}

func TestReadMessage(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"nothing":     {nil, io.EOF},
		"half header": {message(4)[:10], io.ErrUnexpectedEOF},
		"half body":   {message(3, 6, 2)[:20], io.ErrUnexpectedEOF},
		"marker":      {append([]byte{0}, message(4)[1:]...), &protocolError{code: 1, subcode: 1}},
		"too short":   {append(bytes.Repeat([]byte{0xff}, 16), 0, 18, 4), &protocolError{code: 1, subcode: 2}},
		"too long":    {append(bytes.Repeat([]byte{0xff}, 16), 0x10, 1, 4), &protocolError{code: 1, subcode: 2}},
	} {
		_, err := readMessage(bufio.NewReader(bytes.NewReader(c.in)))
		var got, want *protocolError
		if errors.As(c.want, &want) {
			if !errors.As(err, &got) || got.code != want.code || got.subcode != want.subcode {
				t.Errorf("%s: got %#v", name, err)
			}
		} else if err != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// FuzzInbound takes a stream of bytes as a router would send it. What comes
// out must be of the few shapes that the guard writes, and GoBGP's own decoder
// must take it.
func FuzzInbound(f *testing.F) {
	hello := append(routerOpen(), message(typeKeepalive)...)
	f.Add(hello)
	f.Add(append(hello, message(typeUpdate, unhex("0000 0010 800f0c000285010db8000004a4a4dc85")...)...))
	f.Add(append(hello, message(typeRouteRefresh, 0, 1, 0, 1)...))
	f.Add(append(hello, message(typeNotification, 6, 2, 3, 'b', 'y', 'e')...))
	f.Add(append(hello, message(77, 1, 2, 3)...))
	f.Add(message(6))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(stream), maxMessage)
		in := newInbound(holding)
		now := t0
		for {
			msg, err := readMessage(r)
			if err != nil {
				return
			}
			now = now.Add(time.Second)
			out, err := in.next(bytes.Clone(msg), now)
			if err != nil {
				return
			}
			if out != nil {
				checkShape(t, out)
			}
			if in.farewell != nil {
				_ = in.farewell.String() + in.farewell.hint()
				return
			}
		}
	})
}

func checkShape(t *testing.T, out []byte) {
	t.Helper()
	sizes := map[byte][]int{typeKeepalive: {0}, typeNotification: {2}, typeRouteRefresh: {4}, typeUpdate: {4, 10}}
	body := messageBody(out)
	ok := messageType(out) == typeOpen && len(body) >= openFixed && len(body) == openFixed+int(body[9])
	for _, n := range sizes[messageType(out)] {
		ok = ok || len(body) == n
	}
	if !ok {
		t.Errorf("the library would get %x", out)
	}
	if m, err := gobgp.ParseBGPMessage(out); err != nil {
		t.Errorf("the library can't decode %x: %v", out, err)
	} else if err := gobgp.ValidateBGPMessage(m); err != nil {
		t.Errorf("the library does not accept %x: %v", out, err)
	}
}

func TestRouterWithOurOwnIdentifier(t *testing.T) {
	sibling := with(func(p *Peer) { p.LocalASN, p.RouterID = 65000, addr("10.255.0.1") })
	_, err := newInbound(sibling).next(routerOpen(), t0)
	var bad *protocolError
	if !errors.As(err, &bad) || bad.code != 2 || bad.subcode != 3 {
		t.Errorf("got %#v, want 2/3", err)
	}
}
