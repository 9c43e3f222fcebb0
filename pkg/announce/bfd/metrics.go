package bfd

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counts is what happened to packets, of all sessions together.
type counts struct {
	sent, received, failed atomic.Uint64
	rejected               [len(rejects)]atomic.Uint64
}

var rejects = [...]Reject{
	RejectVersion, RejectLength, RejectMultiplier, RejectMultipoint, RejectDiscriminator,
	RejectState, RejectAuth, RejectTTL, RejectSource, RejectRate,
}

func (c *counts) reject(r Reject) {
	for i := range rejects {
		if rejects[i] == r {
			c.rejected[i].Add(1)
		}
	}
}

var (
	descUp = prometheus.NewDesc("herald_bfd_session_up",
		"1 while the BFD session with the peer is up.", []string{"peer"}, nil)
	descFlaps = prometheus.NewDesc("herald_bfd_session_flaps_total",
		"How often the BFD session with the peer has gone down.", []string{"peer"}, nil)
	descSent = prometheus.NewDesc("herald_bfd_packets_sent_total",
		"BFD control packets sent.", nil, nil)
	descFailed = prometheus.NewDesc("herald_bfd_send_failures_total",
		"BFD control packets that could not be sent.", nil, nil)
	descReceived = prometheus.NewDesc("herald_bfd_packets_received_total",
		"BFD control packets received and accepted.", nil, nil)
	descRejected = prometheus.NewDesc("herald_bfd_packets_rejected_total",
		"Packets to the BFD ports that were dropped, by reason.", []string{"reason"}, nil)
)

var _ prometheus.Collector = (*Manager)(nil)

// Describe is part of prometheus.Collector.
func (m *Manager) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descUp, descFlaps, descSent, descFailed, descReceived, descRejected} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (m *Manager) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m.States() {
		up := 0.0
		if s.State == Up {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, up, s.Key)
		ch <- prometheus.MustNewConstMetric(descFlaps, prometheus.CounterValue, float64(s.Flaps), s.Key)
	}
	count := func(d *prometheus.Desc, v *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), labels...)
	}
	count(descSent, &m.counts.sent)
	count(descFailed, &m.counts.failed)
	count(descReceived, &m.counts.received)
	for i := range rejects {
		count(descRejected, &m.counts.rejected[i], string(rejects[i]))
	}
}
