package config

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

const (
	defaultPort = 179
	minHold     = 3 * time.Second
	maxTimer    = 65535 * time.Second // BGP's timers have 16 bits

	// maxPassword is the longest key of TCP_MD5SIG (TCP_MD5SIG_MAXKEYLEN).
	maxPassword = 80
)

// parsePeers reads peers.
func (p *parser) parsePeers(v value) []Peer {
	var peers []Peer
	p.known = map[string]bool{}
	lines, seen := map[string]int{}, map[string]place{}
	for _, item := range p.list(v) {
		before := len(p.errs)
		o := p.object(item, &peerKeys)
		peer := p.peer(o)
		p.unique(lines, o, peer.Name)
		if p.clean(before) {
			alike := fingerprint(peer, peer.Password)
			if same, twice := seen[alike]; twice {
				p.errorf(item.place, "the peer is there twice").hint("%s (line %d) is the same: remove one of the two", same.path, same.line)
			} else {
				seen[alike] = item.place
			}
		}
		if peer.Name != "" {
			p.known[peer.Name] = true
		}
		peers = append(peers, peer)
	}
	p.nameTheRest(peers)
	return peers
}

// peer reads one peer, without giving it a name.
func (p *parser) peer(o object) Peer {
	peer := Peer{
		Name:          o.name("name"),
		MyASN:         uint32(o.number("my-asn")),
		PeerASN:       uint32(o.number("peer-asn")),
		Address:       p.peerAddress(o),
		Port:          uint16(o.number("peer-port")),
		SourceAddress: o.address("source-address"),
		RouterID:      p.routerID(o),
		EBGPMultihop:  o.flag("ebgp-multihop"),
		BFDProfile:    p.bfdProfile(o),
		NodeSelectors: p.nodeSelectors(o.get("node-selectors")),
	}
	if peer.Port == 0 {
		peer.Port = defaultPort
	}
	if s := peer.SourceAddress; s.IsValid() && peer.Address.IsValid() && s.Is4() != peer.Address.Is4() {
		p.errorf(o.get("source-address").place, "%s is not of the family of peer-address %s", s, peer.Address).
			hint("write both as IPv4, or both as IPv6")
	}
	if peer.EBGPMultihop && peer.MyASN == peer.PeerASN && peer.MyASN != 0 {
		p.errorf(o.get("ebgp-multihop").place, "my-asn and peer-asn are both %d: this is not eBGP", peer.MyASN).
			hint("remove ebgp-multihop: iBGP peers may always be more than one hop away")
	}
	p.timers(o, &peer)
	p.passwords(o, &peer)
	return peer
}

func (p *parser) peerAddress(o object) netip.Addr {
	a := o.address("peer-address")
	at := o.get("peer-address").place
	switch {
	case !a.IsValid():
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		p.errorf(at, "%s is not the address of one router", a).hint("write a unicast address")
	case a.Is6() && a.IsLinkLocalUnicast():
		p.errorf(at, "%s is link-local, which says nothing without an interface", a).hint("write another address of the router")
	}
	return a
}

func (p *parser) routerID(o object) netip.Addr {
	a := o.address("router-id")
	if a.IsValid() && (!a.Is4() || a.IsUnspecified()) {
		p.errorf(o.get("router-id").place, "%s is not a router ID", a).
			hint("write it like an IPv4 address other than 0.0.0.0, or remove it")
	}
	return a
}

func (p *parser) bfdProfile(o object) string {
	v := o.get("bfd-profile")
	name, _ := p.text(v)
	if name == "" {
		return ""
	}
	var names []string
	for _, b := range p.profiles {
		if b.Name == name {
			return name
		}
		names = append(names, b.Name)
	}
	e := p.errorf(v.place, "there is no BFD profile %q", show(name)).hint("define it under bfd-profiles")
	if near, ok := nearest(name, names); ok {
		e.hint("did you mean %s?", show(near))
	}
	return name
}

// timers reads the three durations, whose bounds depend on each other.
func (p *parser) timers(o object, peer *Peer) {
	hold, holdOK := o.duration("hold-time")
	switch {
	case !holdOK:
	case hold != 0 && hold < minHold:
		p.errorf(o.get("hold-time").place, "%s is too short", o.written("hold-time")).hint("write 0s, or 3s or more")
	case hold > maxTimer:
		p.errorf(o.get("hold-time").place, "%s is too long", o.written("hold-time")).hint("write 65535s or less")
	}
	keepalive, keepaliveOK := o.duration("keepalive-time")
	at := o.get("keepalive-time").place
	switch {
	case !keepaliveOK:
		keepalive = (hold / 3).Truncate(time.Second)
	case !holdOK:
	case keepalive > hold:
		p.errorf(at, "%s is longer than hold-time %s", o.written("keepalive-time"), hold).hint("a third of hold-time is usual")
	case keepalive == 0 && hold > 0:
		p.errorf(at, "without KEEPALIVE messages the session ends after hold-time %s", hold).hint("write 1s or more")
	}
	connect, connectOK := o.duration("connect-time")
	if connectOK && (connect < time.Second || connect > maxTimer) {
		p.errorf(o.get("connect-time").place, "%s is out of range", o.written("connect-time")).hint("1s to 65535s")
	}
	peer.HoldTime, peer.KeepaliveTime, peer.ConnectTime = hold, keepalive, connect
}

// secretName is what Kubernetes accepts as the name of a Secret.
var secretName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// passwords reads the two ways of giving the MD5 key. No message repeats them.
func (p *parser) passwords(o object, peer *Peer) {
	password, secret := o.get("password"), o.get("password-secret")
	key, _ := p.text(password)
	peer.Password = Secret(key)
	peer.PasswordSecret, _ = p.text(secret)
	if n := len(peer.Password); n > maxPassword {
		p.errorf(password.place, "has %d bytes: the kernel takes no TCP MD5 key that long", n).hint("at most %d bytes", maxPassword)
	}
	if peer.PasswordSecret == "" {
		return
	}
	if len(peer.PasswordSecret) > 253 || !secretName.MatchString(peer.PasswordSecret) {
		p.errorf(secret.place, "is not the name of a Secret").
			hint("write the name of a Secret in Herald's namespace (lower case letters, digits, - and .), not the password itself")
	}
	if peer.Password != "" {
		p.errorf(secret.place, "there is a password too").hint("keep one of password and password-secret")
	}
}

// nameTheRest names the peers that have no name of their own after their
// address; see the package documentation.
func (p *parser) nameTheRest(peers []Peer) {
	counts := map[string]int{} // of peers whose settings have the same hash
	for i := range peers {
		peer := &peers[i]
		if peer.Name != "" || !peer.Address.IsValid() {
			continue
		}
		base := peer.Address.String()
		if peer.Port != defaultPort {
			base = netip.AddrPortFrom(peer.Address, peer.Port).String()
		}
		name := base
		if p.known[name] {
			h := fnv.New32a()
			_, _ = h.Write([]byte(fingerprint(*peer, "")))
			base = fmt.Sprintf("%s#%08x", base, h.Sum32())
			name = base
		}
		for p.known[name] {
			counts[base]++
			name = fmt.Sprintf("%s-%d", base, counts[base]+1)
		}
		peer.Name = name
		p.known[name] = true
	}
}

// fingerprint describes all of a peer but its name, with the given password:
// equal for peers that are alike. With a password it must not be shown.
func fingerprint(p Peer, password Secret) string {
	fields := []any{p.MyASN, p.PeerASN, p.Address, p.Port, p.SourceAddress, p.RouterID, p.HoldTime, p.KeepaliveTime,
		p.ConnectTime, password.Reveal(), p.PasswordSecret, p.EBGPMultihop, p.BFDProfile, selectorsText(p.NodeSelectors)}
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%q ", fmt.Sprint(f))
	}
	return b.String()
}
