package bgp

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	descUp = prometheus.NewDesc("herald_bgp_session_up",
		"1 while the session with the peer is established.", []string{"peer"}, nil)
	descRoutes = prometheus.NewDesc("herald_bgp_routes_advertised",
		"Routes of this node for the peer; none reach it while the session is down.", []string{"peer"}, nil)
	descSessions = prometheus.NewDesc("herald_bgp_sessions_total",
		"Sessions that were established with the peer.", []string{"peer"}, nil)
	descResets = prometheus.NewDesc("herald_bgp_session_resets_total",
		"Established sessions that ended, by reason.", []string{"peer", "reason"}, nil)
	descFailures = prometheus.NewDesc("herald_bgp_connect_failures_total",
		"Attempts at a session that came to nothing, by reason.", []string{"peer", "reason"}, nil)
	descUpdates = prometheus.NewDesc("herald_bgp_updates_sent_total",
		"UPDATE messages sent to the peer.", []string{"peer"}, nil)
	descReceived = prometheus.NewDesc("herald_bgp_messages_received_total",
		"Messages of the peer.", []string{"peer"}, nil)
	descDiscarded = prometheus.NewDesc("herald_bgp_messages_discarded_total",
		"Messages of the peer that were dropped unread, as UPDATEs are.", []string{"peer"}, nil)
)

var _ prometheus.Collector = (*Speaker)(nil)

// Describe is part of prometheus.Collector.
func (s *Speaker) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descRoutes, descSessions, descResets, descFailures, descUpdates, descReceived, descDiscarded} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector. What was counted for a peer goes
// when the peer does.
func (s *Speaker) Collect(ch chan<- prometheus.Metric) {
	for _, p := range s.all() {
		p.mu.Lock()
		st, sessions, resets, failures := p.status, p.counts.sessions, maps.Clone(p.counts.resets), maps.Clone(p.counts.failures)
		p.mu.Unlock()
		up := 0.0
		if st.State == Established {
			up = 1
		}
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, p.name)
		}
		counter := func(d *prometheus.Desc, v uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append([]string{p.name}, labels...)...)
		}
		gauge(descUp, up)
		gauge(descRoutes, float64(st.Routes))
		counter(descSessions, sessions)
		counter(descUpdates, p.traffic.updates.Load())
		counter(descReceived, p.traffic.received.Load())
		counter(descDiscarded, p.traffic.discarded.Load())
		for _, c := range slices.Sorted(maps.Keys(resets)) {
			counter(descResets, resets[c], string(c))
		}
		for _, c := range slices.Sorted(maps.Keys(failures)) {
			counter(descFailures, failures[c], string(c))
		}
	}
}
