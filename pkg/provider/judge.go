package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
)

// candidate is the user's ConfigMap as it is now.
type candidate struct {
	name      string // namespace/name, for messages
	present   bool
	document  string
	allowLoss bool // the user agrees to Services losing addresses

	config *config.Config // the document, if it has no mistakes
	err    error          // its mistakes, if it has some
}

// live is the configuration accepted last.
type live struct {
	document   string
	config     *config.Config // nil: none was ever accepted
	generation uint64
}

// outcome is what is to be done about a candidate.
type outcome int

const (
	unchanged outcome = iota // it is what is live
	accepted                 // it becomes live
	refused                  // what is live stays live
	absent                   // there is none; what is live stays, but nothing new is given out
)

// verdict is the outcome with its reasons.
type verdict struct {
	outcome  outcome
	config   *config.Config // of an accepted candidate
	cause    refusalCause   // of a refused one
	problems []string       // of a refused one: each mistake, or each Service that would lose an address
	missing  string         // why new Services can't have addresses; empty if they can
}

// refusalCause is why a candidate is refused.
type refusalCause string

const (
	invalid refusalCause = "invalid" // the document has mistakes
	strands refusalCause = "strands" // it takes addresses that are in use
)

// strandedFunc says who would lose which address under the pools.
type strandedFunc func(pools []config.Pool) []ipam.Stranded

// judge decides about a candidate. An edit that takes an address from a Service
// is refused as a whole unless the user agreed to that. The first configuration
// is always accepted if it has no mistakes: an address that a Service got
// elsewhere, before Herald came, is nothing that Herald could keep.
func judge(c candidate, l live, stranded strandedFunc) verdict {
	switch {
	case !c.present:
		return verdict{outcome: absent, missing: fmt.Sprintf("there is no ConfigMap %s; create it", c.name)}
	case c.err != nil:
		return l.refuse(c, invalid, mistakes(c.err))
	case l.config != nil && c.document == l.document:
		return verdict{outcome: unchanged}
	case l.config == nil || c.allowLoss:
		return verdict{outcome: accepted, config: c.config}
	}
	var losses []string
	for _, s := range stranded(c.config.Pools) {
		losses = append(losses, fmt.Sprintf("Service %s would lose %v", s.Service, s.Address))
	}
	if len(losses) > 0 {
		return l.refuse(c, strands, losses)
	}
	return verdict{outcome: accepted, config: c.config}
}

// refuse is the verdict of a refused candidate.
func (l live) refuse(c candidate, cause refusalCause, problems []string) verdict {
	v := verdict{outcome: refused, cause: cause, problems: problems}
	if l.config == nil {
		v.missing = fmt.Sprintf("the ConfigMap %s is refused, and none was accepted before: %s", c.name, list(problems, 200))
	}
	return v
}

// mistakes lists the single errors of a document.
func mistakes(err error) []string {
	if all, ok := errors.AsType[config.Errors](err); ok {
		out := make([]string, len(all))
		for i, one := range all {
			out[i] = one.Error()
		}
		return out
	}
	return []string{err.Error()}
}

// message is the verdict for people, in at most about 900 bytes: an Event
// holds 1024.
func (v verdict) message() string {
	const room = 650
	switch v.cause {
	case strands:
		return fmt.Sprintf("Refused, the last accepted configuration stays live: %s. Change these Services first, or set the annotation %s: \"true\" on this ConfigMap to let them get other addresses.",
			list(v.problems, room), AnnotationAllowAddressLoss)
	default:
		return "Refused, the last accepted configuration stays live: " + list(v.problems, room)
	}
}

// list joins as many of the texts as fit into limit bytes, and says how many
// more there are.
func list(texts []string, limit int) string {
	var b strings.Builder
	for i, text := range texts {
		if i > 0 && b.Len()+len(text) > limit {
			fmt.Fprintf(&b, "; and %d more", len(texts)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(cut(text, limit))
	}
	return b.String()
}

// cut shortens a text to limit bytes, at the border of a character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// hash identifies a document.
func hash(document string) string {
	sum := sha256.Sum256([]byte(document))
	return hex.EncodeToString(sum[:])
}
