package member

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// A packet on the wire:
//
//	version 1 · kind 1 · key hint 4 · session 8 · counter 8 · ciphertext · tag 16
//
// The header is authenticated. The AES-GCM key is derived from the shared key,
// the cluster's id and the sender's session, which is random at each start, so
// the counter alone is a nonce that never repeats, and it lets the receiver
// drop what it has seen before.
const (
	wireVersion = 1
	headerLen   = 1 + 1 + 4 + 8 + 8
	tagLen      = 16

	maxDatagram = 2048
	maxSessions = 4096
)

// session tells one run of a member from the next.
type session uint64

// kind is what a sealed packet carries.
type kind uint8

const (
	kindGossip  kind = 1 + iota // a packet of memberlist
	kindPing                    // are you there?
	kindEcho                    // the answer
	kindOpinion                 // what a watcher thinks of a member
)

// refusal is why something from the network wasn't taken. It is the value of
// the label reason of herald_member_refused_total.
type refusal string

// Error makes a refusal an error.
func (r refusal) Error() string { return string(r) }

const (
	refusedSource    refusal = "unknown source"
	refusedMalformed refusal = "malformed"
	refusedKey       refusal = "unknown key"
	refusedForged    refusal = "not authentic"
	refusedReplay    refusal = "replayed"
	refusedBusy      refusal = "queue full"
	refusedStreams   refusal = "too many streams"
	refusedPerSource refusal = "too many streams from the source"
	refusedLong      refusal = "stream too long"
	refusedHandshake refusal = "no handshake"
	refusedStranger  refusal = "not a member"
)

// derive makes the AEAD for one use of a key.
func derive(k Key, salt []byte, use, cluster string) cipher.AEAD {
	sub, err := hkdf.Key(sha256.New, k.secret[:], salt, "herald member "+use+"\x00"+cluster, 32)
	if err != nil {
		panic(fmt.Sprintf("deriving a 32-byte key: %v", err)) // only for keys over 8160 bytes
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		panic(fmt.Sprintf("AES-256 with a 32-byte key: %v", err))
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(fmt.Sprintf("GCM over AES: %v", err))
	}
	return aead
}

func packetAEAD(k Key, s session, cluster string) cipher.AEAD {
	return derive(k, binary.BigEndian.AppendUint64(nil, uint64(s)), "packet", cluster)
}

func counterNonce(n uint64) (nonce [12]byte) {
	binary.BigEndian.PutUint64(nonce[4:], n)
	return nonce
}

// sealer seals the packets of this process with one key. Several goroutines
// may use it.
type sealer struct {
	hint    [4]byte
	session session
	aead    cipher.AEAD
	counter *atomic.Uint64 // shared by the sealers of a session
}

func newSealer(k Key, s session, cluster string, counter *atomic.Uint64) *sealer {
	return &sealer{hint: k.id.hint(), session: s, aead: packetAEAD(k, s, cluster), counter: counter}
}

// seal appends the packet to dst.
func (s *sealer) seal(dst []byte, k kind, plain []byte) []byte {
	n := s.counter.Add(1)
	start := len(dst)
	dst = append(dst, wireVersion, byte(k))
	dst = append(dst, s.hint[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.session))
	dst = binary.BigEndian.AppendUint64(dst, n)
	nonce := counterNonce(n)
	return s.aead.Seal(dst, nonce[:], plain, dst[start:])
}

// packet is what a sealed datagram held.
type packet struct {
	kind    kind
	session session // of the sender
	plain   []byte  // the receiver's to keep
}

// opener opens sealed packets. It is for one goroutine.
type opener struct {
	cluster  string
	ring     *atomic.Pointer[keyring]
	sessions map[sessionKey]*heard
	clock    uint64 // counts packets, to find the session unused for longest
}

type sessionKey struct {
	hint    [4]byte
	session session
}

// heard is a session that an authentic packet came from.
type heard struct {
	aead   cipher.AEAD
	key    keyID
	window replayWindow
	used   uint64
}

func newOpener(cluster string, ring *atomic.Pointer[keyring]) *opener {
	return &opener{cluster: cluster, ring: ring, sessions: map[sessionKey]*heard{}}
}

// open checks a datagram and decrypts it. The error is a refusal.
func (o *opener) open(b []byte) (packet, error) {
	if len(b) < headerLen+tagLen || b[0] != wireVersion || b[1] < byte(kindGossip) || b[1] > byte(kindOpinion) {
		return packet{}, refusedMalformed
	}
	sk := sessionKey{hint: [4]byte(b[2:6]), session: session(binary.BigEndian.Uint64(b[6:14]))}
	key, ok := o.ring.Load().byHint(sk.hint)
	if !ok {
		return packet{}, refusedKey
	}
	h := o.sessions[sk]
	if h == nil || h.key != key.id {
		h = &heard{aead: packetAEAD(key, sk.session, o.cluster), key: key.id}
	}
	n := binary.BigEndian.Uint64(b[14:22])
	nonce := counterNonce(n)
	plain, err := h.aead.Open(nil, nonce[:], b[headerLen:], b[:headerLen])
	if err != nil {
		return packet{}, refusedForged
	}
	if !h.window.accept(n) {
		return packet{}, refusedReplay
	}
	o.remember(sk, h)
	return packet{kind: kind(b[1]), session: sk.session, plain: plain}, nil
}

func (o *opener) remember(sk sessionKey, h *heard) {
	o.clock++
	h.used = o.clock
	if len(o.sessions) >= maxSessions && o.sessions[sk] == nil {
		oldest, used := sk, o.clock
		for k, h := range o.sessions {
			if h.used < used {
				oldest, used = k, h.used
			}
		}
		delete(o.sessions, oldest)
	}
	o.sessions[sk] = h
}

// replayWindow accepts each counter once, and none that is older than the
// newest by more than its size (the bitmap of RFC 6479).
type replayWindow struct {
	newest uint64
	seen   [windowWords]uint64
}

const windowWords = 32 // one word of them is always being cleared

func (w *replayWindow) accept(n uint64) bool {
	if n+(windowWords-1)*64 <= w.newest {
		return false
	}
	word := n / 64
	if n > w.newest {
		for i := w.newest/64 + 1; i <= word && i <= w.newest/64+windowWords; i++ {
			w.seen[i%windowWords] = 0
		}
		w.newest = n
	}
	bit := uint64(1) << (n % 64)
	if w.seen[word%windowWords]&bit != 0 {
		return false
	}
	w.seen[word%windowWords] |= bit
	return true
}
