package bgptest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Hostile is a router that greets as a router does and then sends mutated
// messages: unknown types, lengths that do not add up, attributes that are cut
// short, sessions that begin with a broken OPEN.
type Hostile struct {
	ASN     uint32
	Seed    uint64
	Session int // messages per session; 0: 40

	Opens    atomic.Uint64 // OPENs sent, whole and mutated
	Messages atomic.Uint64 // mutated messages sent, OPENs not counted
}

// Serve accepts sessions until ctx is cancelled, and returns when all have
// ended.
func (h *Hostile) Serve(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for n := uint64(0); ; n++ {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		sessions.Go(func() {
			defer c.Close()
			end := context.AfterFunc(ctx, func() { c.Close() })
			defer end()
			h.attack(c, rand.New(rand.NewPCG(h.Seed, n)))
		})
	}
}

// attack is one session. It ends when the other side has had enough.
func (h *Hostile) attack(c net.Conn, r *rand.Rand) {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(c)
	h.Opens.Add(1)
	if r.IntN(3) == 0 {
		c.Write(mutate(h.open(), r))
		c.Write(frame(4))
		io.Copy(io.Discard, in)
		return
	}
	c.Write(h.open())
	if !skipTo(in, 4) {
		return
	}
	c.Write(frame(4))
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(io.Discard, in) })
	defer reading.Wait()
	defer c.Close()
	n := h.Session
	if n == 0 {
		n = 40
	}
	for range n {
		msg := corpus[r.IntN(len(corpus))]
		if r.IntN(100) > 0 { // framing errors end the session, and not each may
			msg = mutateBody(msg, r)
		} else {
			msg = mutate(msg, r)
		}
		if _, err := c.Write(msg); err != nil {
			return
		}
		h.Messages.Add(1)
	}
}

// skipTo reads up to a message of a type.
func skipTo(in *bufio.Reader, typ byte) bool {
	for {
		head := make([]byte, 19)
		if _, err := io.ReadFull(in, head); err != nil {
			return false
		}
		if _, err := in.Discard(int(binary.BigEndian.Uint16(head[16:])) - 19); err != nil {
			return false
		}
		if head[18] == typ {
			return true
		}
	}
}

// open is a router's OPEN with the capabilities that FRR has.
func (h *Hostile) open() []byte {
	caps := unhex("010400010001" + "010400020001" + "8000" + "0200" + "4600" + "0600" + "450800010103000201" + "03" + "4006c07800010100")
	caps = append(caps, 65, 4)
	caps = binary.BigEndian.AppendUint32(caps, h.ASN)
	body := []byte{4, 0x5b, 0xa0, 0, 9, 10, 255, 0, 9}
	body = append(body, byte(len(caps)+2), 2, byte(len(caps)))
	return frame(1, append(body, caps...)...)
}

func frame(typ byte, body ...byte) []byte {
	msg := append(bytes.Repeat([]byte{0xff}, 16), 0, 0, typ)
	msg = append(msg, body...)
	binary.BigEndian.PutUint16(msg[16:], uint16(len(msg)))
	return msg
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// update puts path attributes into an UPDATE.
func update(attributes string, nlri ...byte) []byte {
	a := unhex(attributes)
	body := append([]byte{0, 0, byte(len(a) >> 8), byte(len(a))}, a...)
	return frame(2, append(body, nlri...)...)
}

// corpus is what messages are mutated from: ordinary ones, and those that are
// known to have ended processes which decoded them.
var corpus = [][]byte{
	frame(4),
	frame(5, 0, 1, 0, 1),
	frame(2, 0, 0, 0, 0),
	update("40010100"+"400200"+"4003040a010002", 32, 192, 0, 2, 1),
	update("40010100"+"40020602010000fde8"+"4003040a010002"+"800404000000ff"+"c008040000ff01", 24, 192, 0, 2),
	update("40010100" + "400200" + "800e1d0002011020010db8000100000000000000000002004020010db8000a0001"),
	update("800f0a0002014020010db8000a0001"),
	update("c02014" + "0000fc00" + "0000000100000002" + "0000fc000000000300000004"),
	update("800e03000201"),
	update("800e0e0019460400000000000102000000"),
	update("800f0c000285010db8000004a4a4dc85"),
	update("c02806050000ff0000"),
	update("c0280905000600010003000000"),
	update("c0280906000600010003000000"),
	update("c01017" + "0002fc00000000010003fc0000000002400600000000000100"),
	update("e0170c000f000b020400000001040200"),
	update("c01d0a04820006c0a800010000"),
}

// mutateBody changes what is behind the header, and keeps the length right.
func mutateBody(msg []byte, r *rand.Rand) []byte {
	typ, body := msg[18], bytes.Clone(msg[19:])
	if r.IntN(20) == 0 {
		body = append(body, corpus[r.IntN(len(corpus))][19:]...)
	}
	for range 1 + r.IntN(4) {
		body = scramble(body, r)
	}
	if len(body) > 4096-19 {
		body = body[:4096-19]
	}
	if typ != 2 && r.IntN(10) > 0 {
		typ = 2 // the others allow no change of size
	}
	return frame(typ, body...)
}

// mutate changes any byte of a message, the header's too.
func mutate(msg []byte, r *rand.Rand) []byte {
	msg = bytes.Clone(msg)
	switch r.IntN(4) {
	case 0:
		msg[18] = byte(r.IntN(256))
		return msg
	case 1:
		binary.BigEndian.PutUint16(msg[16:], uint16(r.IntN(8192)))
		return msg
	}
	return scramble(msg, r)
}

func scramble(b []byte, r *rand.Rand) []byte {
	if len(b) == 0 {
		return append(b, byte(r.IntN(256)))
	}
	i := r.IntN(len(b))
	switch r.IntN(6) {
	case 0:
		b[i] ^= 1 << r.IntN(8)
	case 1:
		b[i] = byte(r.IntN(256))
	case 2:
		b[i] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
	case 3:
		b = append(b[:i], b[i+1:]...)
	case 4:
		b = append(b[:i:i], append([]byte{byte(r.IntN(256))}, b[i:]...)...)
	case 5:
		b = b[:i]
	}
	return b
}
