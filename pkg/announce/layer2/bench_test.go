package layer2

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"go4.org/netipx"
)

// BenchmarkReply measures, on a bridge, how long a client waits for an answer:
// from a speaker, and from the kernel of the same host for its own addresses.
func BenchmarkReply(b *testing.B) {
	lan := real(b, 1)
	lan.own()
	node := lan.hosts[1]
	node.AddAddress("fd09::1/64")
	tests := []struct {
		name string
		addr netip.Addr
	}{
		{"ARP/speaker", vip4},
		{"ARP/kernel", netip.MustParseAddr("10.9.0.1")},
		{"NDP/speaker", vip6},
		{"NDP/kernel", netip.MustParseAddr("fd09::1")},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			client := lan.client
			client.deaf() // its own loop would take the replies
			w, err := inHost{lan.hosts[clientHost], Sockets{}}.Open(client.link, FamilyOf(tt.addr), rangesOf([]netipx.IPRange{only(tt.addr)}))
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			ask := arpPacket{op: 1, senderMAC: client.link.MAC, senderIP: clientIP, targetIP: tt.addr}.appendTo(nil, broadcastMAC())
			if tt.addr.Is6() {
				ask = neighborAsk(client.link, tt.addr)
			}
			in := make([]byte, maxFrame)
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				time.Sleep(repliesPace)
				b.StartTimer()
				start := time.Now()
				if err := w.WriteFrame(ask); err != nil {
					b.Fatal(err)
				}
				if _, err := w.ReadFrame(in); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
		})
	}
}

// repliesPace keeps a client below what it is granted a second.
const repliesPace = 1100 * time.Millisecond / repliesPerSecond
