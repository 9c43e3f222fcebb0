package part

import (
	"context"
	"net/netip"

	api "github.com/osrg/gobgp/v3/api"
	gobgplog "github.com/osrg/gobgp/v3/pkg/log"
	"github.com/osrg/gobgp/v3/pkg/server"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// plain is GoBGP alone: a server whose neighbours are all that are told the same.
type plain struct {
	server *server.BgpServer
	have   int
}

func newPlain(routers []netip.Addr) (*plain, error) {
	ctx := context.Background()
	quiet := gobgplog.NewDefaultLogger()
	quiet.SetLevel(gobgplog.ErrorLevel)
	p := &plain{server: server.NewBgpServer(server.LoggerOption(quiet))}
	go p.server.Serve()
	global := &api.Global{Asn: nodeASN, RouterId: nodeSide(routers[0]).String(), ListenPort: -1}
	if err := p.server.StartBgp(ctx, &api.StartBgpRequest{Global: global}); err != nil {
		return nil, err
	}
	for _, r := range routers {
		neighbor := &api.Peer{
			Conf:   &api.PeerConf{NeighborAddress: r.String(), PeerAsn: routerASN},
			Timers: &api.Timers{Config: &api.TimersConfig{ConnectRetry: 1}},
		}
		if err := p.server.AddPeer(ctx, &api.AddPeerRequest{Peer: neighbor}); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// nodeSide is the node's address on the cable to a router.
func nodeSide(router netip.Addr) netip.Addr { return router.Prev() }

func (p *plain) announce(n int) error {
	ctx := context.Background()
	for ; p.have < n; p.have++ {
		path, err := plainPath(p.have)
		if err != nil {
			return err
		}
		if _, err := p.server.AddPath(ctx, &api.AddPathRequest{TableType: api.TableType_GLOBAL, Path: path}); err != nil {
			return err
		}
	}
	for ; p.have > n; p.have-- {
		path, err := plainPath(p.have - 1)
		if err != nil {
			return err
		}
		if err := p.server.DeletePath(ctx, &api.DeletePathRequest{TableType: api.TableType_GLOBAL, Path: path}); err != nil {
			return err
		}
	}
	return nil
}

// plainPath is the path of the address of that number. The next hop that is not
// specified is this end of each session.
func plainPath(i int) (*api.Path, error) {
	nlri, err := anypb.New(&api.IPAddressPrefix{Prefix: address(i).String(), PrefixLen: 32})
	if err != nil {
		return nil, err
	}
	path := &api.Path{Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}, Nlri: nlri}
	for _, a := range []proto.Message{&api.OriginAttribute{}, &api.NextHopAttribute{NextHop: netip.IPv4Unspecified().String()}} {
		packed, err := anypb.New(a)
		if err != nil {
			return nil, err
		}
		path.Pattrs = append(path.Pattrs, packed)
	}
	return path, nil
}

func (p *plain) close() { p.server.Stop() }

// split is a server for each router.
type split []*plain

func newSplit(routers []netip.Addr) (split, error) {
	var s split
	for i := range routers {
		p, err := newPlain(routers[i : i+1])
		if err != nil {
			return nil, err
		}
		s = append(s, p)
	}
	return s, nil
}

func (s split) announce(n int) error {
	var all errgroup.Group
	for _, p := range s {
		all.Go(func() error { return p.announce(n) })
	}
	return all.Wait()
}

func (s split) close() {
	for _, p := range s {
		p.close()
	}
}
