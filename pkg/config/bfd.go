package config

import "time"

// bfdProfiles reads the list of BFD profiles.
func (p *parser) bfdProfiles(v value) []BFDProfile {
	var profiles []BFDProfile
	lines := map[string]int{}
	for _, item := range p.list(v) {
		o := p.object(item, &profileKeys)
		b := BFDProfile{
			Name:             o.name("name"),
			ReceiveInterval:  o.milliseconds("receive-interval"),
			TransmitInterval: o.milliseconds("transmit-interval"),
			EchoInterval:     o.milliseconds("echo-interval"),
			DetectMultiplier: uint8(o.number("detect-multiplier")),
			EchoMode:         o.flag("echo-mode"),
			PassiveMode:      o.flag("passive-mode"),
			MinimumTTL:       uint8(o.number("minimum-ttl")),
		}
		if b.EchoMode {
			p.errorf(o.get("echo-mode").place, "echo mode is not supported").
				hint("remove the key: receive-interval, transmit-interval and detect-multiplier set how fast a failure is found")
		}
		p.unique(lines, o, b.Name)
		profiles = append(profiles, b)
	}
	return profiles
}

func (o object) milliseconds(name string) time.Duration {
	return time.Duration(o.number(name)) * time.Millisecond
}

// unique records a mistake if an earlier item has the same name: lines are
// those of the names so far.
func (p *parser) unique(lines map[string]int, o object, name string) {
	if name == "" {
		return
	}
	at := o.get("name").place
	if line, taken := lines[name]; taken {
		p.errorf(at, "the name %q is taken", show(name)).hint("line %d has it already: choose another", line)
		return
	}
	lines[name] = at.line
}
