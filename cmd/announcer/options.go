package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"github.com/spf13/pflag"
)

// options is the command line, and the environment where a flag is not given.
type options struct {
	nodeName    string
	namespace   string
	hostIPText  string
	kubeconfig  string
	podSelector string
	keyDir      string
	memberPort  uint16
	httpPort    uint16
	stateDir    string
	logLevel    string
	logFormat   string
	showVersion bool

	// complete fills in the rest.
	hostIP netip.Addr
	level  slog.Level
}

func newOptions(getenv func(string) string) *options {
	return &options{
		nodeName:    getenv("HERALD_NODE_NAME"),
		namespace:   getenv("HERALD_NAMESPACE"),
		hostIPText:  getenv("HERALD_HOST_IP"),
		podSelector: "app.kubernetes.io/name=herald,app.kubernetes.io/component=announcer",
		keyDir:      "/etc/herald/memberlist",
		memberPort:  7946,
		httpPort:    7472,
		stateDir:    "/var/lib/herald",
		logLevel:    "info",
		logFormat:   "json",
	}
}

func (o *options) addFlags(f *pflag.FlagSet) {
	// The environment differs from node to node; help and its test must not.
	str := func(p *string, name, usage string) {
		f.StringVar(p, name, *p, usage)
		f.Lookup(name).DefValue = ""
	}
	str(&o.nodeName, "node-name", "name of the Node this runs on (default $HERALD_NODE_NAME)")
	str(&o.namespace, "namespace", "namespace of Herald's own objects (default $HERALD_NAMESPACE)")
	str(&o.hostIPText, "host-ip", "the node's address, for members and metrics (default $HERALD_HOST_IP)")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "how to reach the API server (default: as a Pod does)")
	f.StringVar(&o.podSelector, "announcer-pods", o.podSelector, "labels of the announcers' Pods, where members look for each other")
	f.StringVar(&o.keyDir, "memberlist-keys", o.keyDir, "directory with the entries of the Secret memberlist")
	f.Uint16Var(&o.memberPort, "memberlist-port", o.memberPort, "TCP and UDP port of members, the same on all nodes")
	f.Uint16Var(&o.httpPort, "http-port", o.httpPort, "port of /metrics, /healthz and /readyz on the node's address and, with /debug/, on the loopback address")
	f.StringVar(&o.stateDir, "state-dir", o.stateDir, "directory for what a restart without the API server needs; empty: none")
	f.StringVar(&o.logLevel, "log-level", o.logLevel, "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", o.logFormat, "json or text")
	f.BoolVar(&o.showVersion, "version", false, "print the version and exit")
}

// complete checks the options and returns all that is wrong with them.
func (o *options) complete() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.nodeName == "" {
		wrong("no node name: set HERALD_NODE_NAME from spec.nodeName, or give --node-name")
	}
	if o.namespace == "" {
		wrong("no namespace: set HERALD_NAMESPACE from metadata.namespace, or give --namespace")
	}
	var err error
	if o.hostIPText == "" {
		wrong("no node address: set HERALD_HOST_IP from status.hostIP, or give --host-ip")
	} else if o.hostIP, err = netip.ParseAddr(o.hostIPText); err != nil {
		wrong("--host-ip: %q is not an IP address", o.hostIPText)
	}
	if o.memberPort == 0 {
		wrong("--memberlist-port: 0 is not a port")
	}
	if o.httpPort == 0 {
		wrong("--http-port: 0 is not a port")
	}
	if err := o.level.UnmarshalText([]byte(o.logLevel)); err != nil {
		wrong("--log-level: %q is none of debug, info, warn, error", o.logLevel)
	}
	if o.logFormat != "json" && o.logFormat != "text" {
		wrong("--log-format: %q is neither json nor text", o.logFormat)
	}
	return errors.Join(errs...)
}

// logger returns the program's logger.
func (o *options) logger(w io.Writer) *slog.Logger {
	h := &slog.HandlerOptions{Level: o.level}
	if o.logFormat == "text" {
		return slog.New(slog.NewTextHandler(w, h))
	}
	return slog.New(slog.NewJSONHandler(w, h))
}
