package bfd

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What FRR 8.4 sent in its first two packets.
func TestPacketsOnTheWire(t *testing.T) {
	for name, c := range map[string]struct {
		bytes string
		want  Packet
	}{
		"Down": {"20400318" + "00000001" + "00000000" + "000f4240" + "000f4240" + "00000000",
			Packet{State: Down, Multiplier: 3, My: 1, DesiredTx: time.Second, RequiredRx: time.Second}},
		"Up, Poll": {"20e00318" + "12345678" + "9abcdef0" + "0000c350" + "0000c350" + "0000c350",
			Packet{State: Up, Poll: true, Multiplier: 3, My: 0x12345678, Your: 0x9abcdef0, DesiredTx: 50 * time.Millisecond, RequiredRx: 50 * time.Millisecond, RequiredEcho: 50 * time.Millisecond}},
		"all flags": {"21fa0518" + "00000001" + "00000002" + "00000003" + "00000004" + "00000005",
			Packet{Diagnostic: 1, State: Up, Poll: true, Final: true, ControlPlane: true, Demand: true, Multiplier: 5, My: 1, Your: 2, DesiredTx: 3 * time.Microsecond, RequiredRx: 4 * time.Microsecond, RequiredEcho: 5 * time.Microsecond}},
	} {
		raw, err := hex.DecodeString(c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		got, reject := ParsePacket(raw)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(Packet{})); diff != "" || reject != "" {
			t.Errorf("%s: %s %s", name, reject, diff)
		}
		if out := c.want.Append(nil); !bytes.Equal(out, raw) {
			t.Errorf("%s: encoded as %x", name, out)
		}
	}
}

func TestRejectedPackets(t *testing.T) {
	good := Packet{State: Up, Multiplier: 3, My: 1, Your: 2}.Append(nil)
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   Reject
	}{
		"nothing wrong":       {func(b []byte) []byte { return b }, ""},
		"bytes after it":      {func(b []byte) []byte { return append(b, 1, 2, 3) }, ""},
		"too short":           {func(b []byte) []byte { return b[:23] }, RejectLength},
		"empty":               {func([]byte) []byte { return nil }, RejectLength},
		"version 0":           {func(b []byte) []byte { b[0] = 0; return b }, RejectVersion},
		"length 23":           {func(b []byte) []byte { b[3] = 23; return b }, RejectLength},
		"length 25":           {func(b []byte) []byte { b[3] = 25; return b }, RejectLength},
		"multiplier 0":        {func(b []byte) []byte { b[2] = 0; return b }, RejectMultiplier},
		"multipoint":          {func(b []byte) []byte { b[1] |= 1; return b }, RejectMultipoint},
		"no discriminator":    {func(b []byte) []byte { b[7] = 0; return b }, RejectDiscriminator},
		"Up without ours":     {func(b []byte) []byte { b[11] = 0; return b }, RejectState},
		"authenticated":       {func(b []byte) []byte { b[1] |= 4; b[3] = 26; return append(b, 1, 2) }, RejectAuth},
		"authenticated, bare": {func(b []byte) []byte { b[1] |= 4; return b }, RejectLength},
	} {
		if _, got := ParsePacket(c.change(bytes.Clone(good))); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(Packet{State: Up, Poll: true, Multiplier: 3, My: 1, Your: 2, DesiredTx: time.Second, RequiredRx: time.Second}.Append(nil))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, reject := ParsePacket(b)
		if reject != "" {
			return
		}
		again, reject := ParsePacket(p.Append(nil))
		if diff := cmp.Diff(p, again, cmp.AllowUnexported(Packet{})); reject != "" || diff != "" {
			t.Errorf("%x: %s %s", b, reject, diff)
		}
	})
}

func TestNames(t *testing.T) {
	if s := Up.String() + State(9).String() + TimeExpired.String() + Diagnostic(30).String(); s != "UpState(9)control detection time expireddiagnostic 30" {
		t.Error(s)
	}
}
