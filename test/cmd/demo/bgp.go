package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
	"github.com/herald-lb/herald/test/lab/router"
)

// frrConfig makes the LAN's router a neighbour of the nodes.
//
//go:embed frr.conf
var frrConfig string

// outside is a client behind the router.
const outside = "outside"

var routerSide, outsideSide = netip.MustParsePrefix("10.88.0.1/24"), netip.MustParsePrefix("10.88.0.2/24")

// routedService is the web server once more, at an address of the pool for BGP.
const routedService = `apiVersion: v1
kind: Service
metadata:
  name: web-bgp
  annotations: {metallb.universe.tf/address-pool: my-ip-space}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// bgp is the second act: a Service that answers behind a router, and goes on
// when one of the nodes that lead to it fails.
func (d *demo) bgp(ctx context.Context) (*router.FRR, netip.Addr, error) {
	d.say("BGP: the LAN's router runs FRR")
	fmt.Fprint(d.out, frrConfig)
	if err := d.lab.AddFarHost(outside, lab.Router, routerSide, outsideSide); err != nil {
		return nil, netip.Addr{}, err
	}
	frr, err := router.StartFRR(ctx, d.lab, lab.Router, frrConfig)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	address, err := d.routedService(ctx, frr)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	return frr, address, d.reroute(ctx, frr, address)
}

// routedService makes a Service of the pool for BGP and waits until every node
// leads to it.
func (d *demo) routedService(ctx context.Context, frr *router.FRR) (netip.Addr, error) {
	d.say("A peer and a second pool, 198.51.100.0/24, beside the first")
	if _, err := d.show(ctx, "apply", "-f", filepath.Join(d.root, "test", "cmd", "demo", "bgp.yaml")); err != nil {
		return netip.Addr{}, err
	}
	if err := d.lab.Apply(ctx, routedService); err != nil {
		return netip.Addr{}, err
	}
	if err := frr.WaitNeighbors(ctx); err != nil {
		return netip.Addr{}, err
	}
	if _, err := d.lab.Kubectl(ctx, "wait", "--for=jsonpath={.status.loadBalancer.ingress}", "service/web-bgp", "--timeout=30s"); err != nil {
		return netip.Addr{}, err
	}
	address, err := d.address(ctx, "web-bgp")
	if err != nil {
		return netip.Addr{}, err
	}
	if err := router.WaitKernel(ctx, d.lab, lab.Router, address, d.lab.Nodes()...); err != nil {
		return netip.Addr{}, err
	}
	if _, err := d.show(ctx, "get", "services", "web", "web-bgp"); err != nil {
		return netip.Addr{}, err
	}
	d.say("The routes at the router")
	if err := d.routes(ctx, frr, address); err != nil {
		return netip.Addr{}, err
	}
	d.say("A client behind the router asks %v", address)
	for range 3 {
		if err := d.curl(ctx, outside, address); err != nil {
			return netip.Addr{}, err
		}
	}
	return address, nil
}

// routes prints what the router knows of an address.
func (d *demo) routes(ctx context.Context, frr *router.FRR, address netip.Addr) error {
	command := fmt.Sprintf("show bgp ipv4 unicast %v/32", address)
	out, err := frr.Show(ctx, command)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "router# %s\n%s\n", command, strings.TrimSpace(out))
	return d.kernelRoutes(ctx, address)
}

// kernelRoutes prints by which nodes the router's kernel sends packets.
func (d *demo) kernelRoutes(ctx context.Context, address netip.Addr) error {
	out, err := d.lab.Exec(ctx, lab.Router, "ip", "route", "show", address.String())
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "router$ ip route show %v\n%s", address, out)
	return nil
}

// reroute cuts the cable of one of the nodes that lead to the address, and mends
// it.
func (d *demo) reroute(ctx context.Context, frr *router.FRR, address netip.Addr) error {
	nodes := d.lab.Nodes()
	_, stop, err := d.lab.Probe(outside, probe.Options{Target: netip.AddrPortFrom(address, 80)})
	if err != nil {
		return err
	}
	gone, failure := d.loseNode(ctx, address, nodes[0])
	report, err := stop()
	if err := errors.Join(failure, err); err != nil {
		return err
	}
	if err := d.routes(ctx, frr, address); err != nil {
		return err
	}
	lost := 0
	for _, f := range report.Failures {
		if f.At.Before(gone) {
			lost++
		}
	}
	fmt.Fprintf(d.out, "the client went without an answer for %v; of its %d connections %d failed until the route was gone,\n"+
		"and %d later, with the Pod on %s, which Kubernetes takes for ready until its node has been silent for a while\n",
		report.Worst().Round(time.Millisecond), report.Sent, lost, len(report.Failures)-lost, nodes[0])
	d.say("The cable of %s is mended", nodes[0])
	if err := d.lab.MendCable(nodes[0]); err != nil {
		return err
	}
	if err := router.WaitKernel(ctx, d.lab, lab.Router, address, nodes...); err != nil {
		return err
	}
	return d.kernelRoutes(ctx, address)
}

// loseNode cuts a node's cable and returns when the router's kernel had no route
// by it any more.
func (d *demo) loseNode(ctx context.Context, address netip.Addr, node string) (gone time.Time, err error) {
	if err := sleep(ctx, time.Second); err != nil {
		return gone, err
	}
	d.say("The cable of %s is cut; the client opens 100 connections a second", node)
	cut := time.Now()
	if err := d.lab.CutCable(node); err != nil {
		return gone, err
	}
	for deadline := cut.Add(20 * time.Second); ; {
		left, err := router.KernelNodes(ctx, d.lab, lab.Router, address)
		if err != nil {
			return gone, err
		}
		if gone = time.Now(); !slices.Contains(left, node) {
			break
		}
		if gone.After(deadline) {
			return gone, fmt.Errorf("the router still sends %v to %s", address, node)
		}
	}
	fmt.Fprintf(d.out, "the router noticed by BFD and sent nothing to %s any more after %v\n", node, gone.Sub(cut).Round(time.Millisecond))
	return gone, sleep(ctx, 2*time.Second)
}
