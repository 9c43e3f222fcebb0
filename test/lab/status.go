package lab

import (
	"context"
	"strings"
	"time"
)

// HostStatus is how a host is.
type HostStatus struct {
	Name      string
	Addresses string
	State     string
}

// Status tells how each host of the lab is, the switch left out.
func (l *Lab) Status(ctx context.Context) []HostStatus {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var out []HostStatus
	for _, h := range l.state.Hosts {
		if h.Name == Switch {
			continue
		}
		var addresses []string
		for _, a := range hostAddresses(h) {
			addresses = append(addresses, a.String())
		}
		s := HostStatus{Name: h.Name, Addresses: strings.Join(addresses, " ")}
		if h.Node {
			s.State = l.nodeStatus(ctx, h.Name)
		}
		out = append(out, s)
	}
	return out
}

func (l *Lab) nodeStatus(ctx context.Context, name string) string {
	running, err := l.state.Running(name)
	if err != nil {
		return err.Error()
	}
	if !running {
		return "off"
	}
	if ok, seen := l.nodeReady(ctx, name); !ok {
		return "not Ready: " + seen
	}
	return "Ready"
}
