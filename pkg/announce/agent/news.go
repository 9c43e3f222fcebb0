package agent

import (
	"fmt"
	"time"
)

const (
	// newsEvery bounds how often there is news of one session.
	newsEvery = time.Minute
	// firstNews is how long a new session may take before it is news that it
	// does not come up.
	firstNews = 15 * time.Second
)

// news decides which changes of sessions people are told: at most one a minute
// of each, and always, if late, how it stands now. The zero value is ready.
type news struct {
	sessions map[string]told
}

// told is what people know of one session.
type told struct {
	up   bool
	at   time.Time // when they were told; zero: never
	seen time.Time // since when there is the session
}

// take returns the news there is at a moment.
func (n *news) take(now time.Time, sessions []Session) []Notice {
	var out []Notice
	next := make(map[string]told, len(sessions))
	for _, s := range sessions {
		t, ok := n.sessions[s.Peer]
		if !ok {
			t.seen = now
		}
		if t.isNews(s, now) {
			t.up, t.at = s.Up, now
			out = append(out, s.notice())
		}
		next[s.Peer] = t
	}
	n.sessions = next
	return out
}

func (t told) isNews(s Session, now time.Time) bool {
	switch {
	case t.at.IsZero() && s.Up:
		return true
	case t.at.IsZero():
		return s.Reason != "" && now.Sub(t.seen) >= firstNews
	}
	return s.Up != t.up && now.Sub(t.at) >= newsEvery
}

func (s *Session) notice() Notice {
	if s.Up {
		return Notice{Reason: "BGPSessionUp", Message: fmt.Sprintf("the BGP session with peer %q is up", s.Peer)}
	}
	return Notice{Warning: true, Reason: "BGPSessionDown", Message: fmt.Sprintf("there is no BGP session with peer %q: %s", s.Peer, s.Reason)}
}
