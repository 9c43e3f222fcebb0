package member

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// opinion is what a watcher says of a member it watches.
type opinion struct {
	down Cause  // zero: it answers
	seq  uint64 // a watcher's newer opinion has a higher one
	by   session
	at   time.Time // when it was last told
}

// opinionMessage is an opinion on the wire:
//
//	receiver's session 8 · seq 8 · target's session 8 · cause 1 · target's name
//
// The sender's session is the packet's. The receiver's makes a recording
// worthless for the receiver's next run, and seq for this one.
type opinionMessage struct {
	to            session
	seq           uint64
	target        string
	targetSession session
	down          Cause
}

var errOpinion = errors.New("malformed opinion")

func (m opinionMessage) encode() []byte {
	b := make([]byte, 0, 25+len(m.target))
	b = binary.BigEndian.AppendUint64(b, uint64(m.to))
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.targetSession))
	return append(append(b, byte(m.down)), m.target...)
}

func decodeOpinion(b []byte) (opinionMessage, error) {
	if len(b) < 26 || b[24] > byte(Unknown) || !validName(string(b[25:])) {
		return opinionMessage{}, errOpinion
	}
	return opinionMessage{
		to:            session(binary.BigEndian.Uint64(b)),
		seq:           binary.BigEndian.Uint64(b[8:]),
		targetSession: session(binary.BigEndian.Uint64(b[16:])),
		down:          Cause(b[24]),
		target:        string(b[25:]),
	}, nil
}

// verdict is what the watchers of a member say together.
type verdict struct {
	down  Cause
	alone bool // nobody but this node says so
}

// judge counts the opinions of a member's watchers. Two of them make it down,
// or the only one there is. Once down, it stays so until fewer than that say
// so and one has heard it again, or nobody says anything any more: a change of
// watchers brings nobody back.
func judge(before verdict, watchers []string, opinions map[string]opinion, self string) verdict {
	var downs []Cause
	heard := false
	for _, w := range watchers {
		o, ok := opinions[w]
		switch {
		case ok && o.down != 0:
			downs = append(downs, o.down)
		case ok:
			heard = true
		}
	}
	need := min(quorum, len(watchers))
	switch {
	case need > 0 && len(downs) >= need:
		if before.down != 0 {
			return verdict{before.down, before.alone && need == 1}
		}
		return verdict{agreed(downs), need == 1 && watchers[0] == self}
	case before.down != 0 && len(downs) > 0 && !heard:
		return before
	}
	return verdict{}
}

// agreed returns the cause that most watchers give, the first in the order of
// the causes if there are several: it is the most certain.
func agreed(downs []Cause) Cause {
	slices.Sort(downs)
	best, most := downs[0], 0
	for _, c := range downs {
		n := 0
		for _, d := range downs {
			if d == c {
				n++
			}
		}
		if n > most {
			best, most = c, n
		}
	}
	return best
}

// validName is the rule for the names of nodes (RFC 1123 subdomain).
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
