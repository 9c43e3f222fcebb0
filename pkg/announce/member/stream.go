package member

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// A stream on the wire:
//
//	server: version 1 · number of keys 1 · their hints 4 each · salt 16
//	client: version 1 · hint of the key it chose 4 · salt 16
//	both:   length 2 · ciphertext, any number of times
//
// Each direction has a key of its own, made of the shared key and both salts,
// so a recorded stream is worth nothing. The server gives a connection to
// memberlist only after the first authentic frame; until then it holds a few
// hundred bytes for it.
const (
	saltLen  = 16
	maxFrame = 16 << 10
)

// sealedConn is a stream whose bytes are encrypted and authenticated. It takes
// no more than its budget of bytes from the other side.
type sealedConn struct {
	net.Conn
	in, out           cipher.AEAD
	inCount, outCount uint64
	frame, plain      []byte // the frame being read, and what of it isn't taken yet
	budget            int64
	refuse            func(refusal)
	closed            func() // called once
	once              sync.Once
	writing           sync.Mutex
}

// streamOptions is what both ends of a stream share.
type streamOptions struct {
	cluster string
	ring    *atomic.Pointer[keyring]
	budget  int64         // bytes to take from the other side
	refuse  func(refusal) // counts
	closed  func()        // called when the connection is closed
}

// acceptStream does the server's part of the handshake and reads the first
// frame. The caller sets a deadline before, and closes c after an error.
func acceptStream(c net.Conn, o streamOptions) (*sealedConn, error) {
	ring := o.ring.Load()
	hello := []byte{wireVersion, byte(len(ring.held))}
	for _, k := range ring.held {
		h := k.id.hint()
		hello = append(hello, h[:]...)
	}
	var serverSalt [saltLen]byte
	rand.Read(serverSalt[:])
	if _, err := c.Write(append(hello, serverSalt[:]...)); err != nil {
		return nil, fmt.Errorf("%w: %w", refusedHandshake, err)
	}
	var answer [1 + 4 + saltLen]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", refusedHandshake, err)
	}
	if answer[0] != wireVersion {
		return nil, refusedMalformed
	}
	key, ok := ring.byHint([4]byte(answer[1:5]))
	if !ok {
		return nil, refusedKey
	}
	salt := append(answer[5:], serverSalt[:]...)
	s := &sealedConn{Conn: c, budget: o.budget, refuse: o.refuse, closed: o.closed,
		in: derive(key, salt, "client", o.cluster), out: derive(key, salt, "server", o.cluster)}
	if err := s.readFrame(); err != nil {
		return nil, err
	}
	return s, nil
}

// dialStream does the client's part of the handshake. It chooses this node's
// primary key if the server has it, else any key that both have. The caller
// sets a deadline before, and closes c after an error.
func dialStream(c net.Conn, o streamOptions) (*sealedConn, error) {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", refusedHandshake, err)
	}
	if head[0] != wireVersion || head[1] > maxKeys {
		return nil, refusedMalformed
	}
	hello := make([]byte, int(head[1])*4+saltLen)
	if _, err := io.ReadFull(c, hello); err != nil {
		return nil, fmt.Errorf("%w: %w", refusedHandshake, err)
	}
	hints, serverSalt := hello[:int(head[1])*4], hello[int(head[1])*4:]
	key, ok := commonKey(o.ring.Load(), hints)
	if !ok {
		return nil, fmt.Errorf("%w: no key of ours is held at the other end", refusedKey)
	}
	var clientSalt [saltLen]byte
	rand.Read(clientSalt[:])
	h := key.id.hint()
	answer := append([]byte{wireVersion}, h[:]...)
	if _, err := c.Write(append(answer, clientSalt[:]...)); err != nil {
		return nil, fmt.Errorf("%w: %w", refusedHandshake, err)
	}
	salt := append(clientSalt[:], serverSalt...)
	return &sealedConn{Conn: c, budget: o.budget, refuse: o.refuse, closed: o.closed,
		in: derive(key, salt, "server", o.cluster), out: derive(key, salt, "client", o.cluster)}, nil
}

// commonKey returns the key to use with an end that holds the keys of hints.
func commonKey(ring *keyring, hints []byte) (Key, bool) {
	var common Key
	found := false
	for ; len(hints) >= 4; hints = hints[4:] {
		k, ok := ring.byHint([4]byte(hints))
		if !ok {
			continue
		}
		if k.id == ring.primary.id {
			return k, true
		}
		if !found {
			common, found = k, true
		}
	}
	return common, found
}

// readFrame reads one frame into s.plain.
func (s *sealedConn) readFrame() error {
	var length [2]byte
	if _, err := io.ReadFull(s.Conn, length[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n <= tagLen || n > maxFrame+tagLen {
		return refusedMalformed
	}
	if s.budget -= int64(n); s.budget < 0 {
		return refusedLong
	}
	if cap(s.frame) < n {
		s.frame = make([]byte, n)
	}
	s.frame = s.frame[:n]
	if _, err := io.ReadFull(s.Conn, s.frame); err != nil {
		return fmt.Errorf("reading a frame: %w", err)
	}
	nonce := counterNonce(s.inCount)
	s.inCount++
	plain, err := s.in.Open(s.frame[:0], nonce[:], s.frame, nil)
	if err != nil {
		return refusedForged
	}
	s.plain = plain
	return nil
}

// Read implements net.Conn.
func (s *sealedConn) Read(b []byte) (int, error) {
	if len(s.plain) == 0 {
		if err := s.readFrame(); err != nil {
			if r, ok := err.(refusal); ok {
				s.refuse(r)
			}
			return 0, err
		}
	}
	n := copy(b, s.plain)
	s.plain = s.plain[n:]
	return n, nil
}

// Write implements net.Conn.
func (s *sealedConn) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	written := 0
	for len(b) > 0 {
		n := min(len(b), maxFrame)
		frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+n+tagLen), uint16(n+tagLen))
		nonce := counterNonce(s.outCount)
		s.outCount++
		if _, err := s.Conn.Write(s.out.Seal(frame, nonce[:], b[:n], nil)); err != nil {
			return written, err
		}
		written += n
		b = b[n:]
	}
	return written, nil
}

// Close implements net.Conn.
func (s *sealedConn) Close() error {
	err := s.Conn.Close()
	s.once.Do(s.closed)
	return err
}
