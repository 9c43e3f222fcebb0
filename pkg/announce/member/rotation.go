package member

import (
	"context"
	"slices"
	"time"
)

const keysEvery = 5 * time.Second // the Secret is read

// rotateKeys brings the keys in use nearer to those wanted.
func (m *Member) rotateKeys(c *core, now time.Time) {
	m.mu.Lock()
	waiting := time.Duration(0)
	if !m.waiting.IsZero() {
		waiting = now.Sub(m.waiting)
	}
	ring := rotate(m.ring, m.wanted, c.shown(), waiting)
	same := ring.equal(m.ring)
	switch {
	case ring.primary.id == m.wanted.Primary.id:
		m.waiting = time.Time{}
	case m.waiting.IsZero():
		m.waiting = now
	}
	pending := !m.waiting.IsZero()
	m.ring = ring
	m.mu.Unlock()
	m.options.Metrics.showKeys(len(ring.held), pending)
	if same {
		return
	}
	m.transport.useKeys(ring)
	m.log.Info("Keys changed", "primary", ring.primary.String(), "held", len(ring.held), "waiting", pending)
	m.show()
}

// watchKeys reads the Secret again and again, as the kubelet renews it by
// replacing links, which is no event for its files.
func (m *Member) watchKeys(ctx context.Context) {
	ticker := time.NewTicker(keysEvery)
	defer ticker.Stop()
	var last error
	var known []keyID
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		keys, err := ReadKeys(m.options.KeyDir, m.options.Secret)
		if err != nil {
			if last == nil || last.Error() != err.Error() {
				m.log.Warn("The Secret's keys can't be read, those in use stay", "err", err)
			}
			last = err
			continue
		}
		last = nil
		ids := (&keyring{held: keys.all()}).ids()
		if !slices.Equal(ids, known) {
			known = ids
			m.SetKeys(keys)
		}
	}
}
