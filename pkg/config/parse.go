package config

// parser holds what parts of the document must know of each other.
type parser struct {
	*decoder
	aliases  map[string]community
	profiles []BFDProfile
	peers    []Peer
	known    map[string]bool // names of peers, also of those with mistakes
	entries  []entry         // of addresses, in document order
	routes   []routes        // by pool, in document order
}

// Parse reads the user's document. The error is an Errors: every mistake at
// once, in document order; then there is no Config. The document is not kept.
func Parse(doc []byte) (*Config, error) {
	root, err := load(doc)
	if err != nil {
		return nil, Errors{err}
	}
	p := &parser{decoder: &decoder{}}
	c := &Config{}
	if root != nil {
		c.Pools = p.document(p.object(p.valueOf("", root), &documentKeys))
		c.Peers, c.BFDProfiles = p.peers, p.profiles
	}
	if len(p.errs) > 0 {
		return nil, p.errs.sorted()
	}
	c.index = newIndex(c.Pools)
	return c, nil
}

// document reads all sections, first those that others refer to, and returns
// the pools.
func (p *parser) document(o object) []Pool {
	p.aliases = p.communityAliases(o.get("bgp-communities"))
	p.profiles = p.bfdProfiles(o.get("bfd-profiles"))
	p.peers = p.parsePeers(o.get("peers"))
	pools := p.parsePools(o.get("address-pools"))
	before := len(p.errs)
	p.checkOverlaps()
	if p.clean(before) {
		p.checkLocalPrefs()
	}
	return pools
}
