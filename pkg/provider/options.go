package provider

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/cloud-provider/options"
)

// Options are Herald's own options.
type Options struct {
	Namespace      string // where the ConfigMaps, the Secret and the lease are
	ServeClassless bool   // Services without a load balancer class are served
}

// namespaceFile is where a pod finds its own namespace.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// defaultOptions returns the defaults. The namespace is that of the pod: the
// environment variable POD_NAMESPACE, else what the service account says, else
// herald-system.
func defaultOptions() *Options {
	namespace := os.Getenv("POD_NAMESPACE")
	if namespace == "" {
		text, _ := os.ReadFile(namespaceFile) // outside of a pod there is none
		namespace = strings.TrimSpace(string(text))
	}
	return &Options{Namespace: cmp.Or(namespace, "herald-system"), ServeClassless: true}
}

// addFlags adds the flags of the options.
func (o *Options) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Namespace, "namespace", o.Namespace,
		"Namespace of the ConfigMaps config and config-live and of the Secret memberlist. The default is the pod's own.")
	fs.BoolVar(&o.ServeClassless, "serve-classless", o.ServeClassless,
		"Serve Services that have no spec.loadBalancerClass. Services of the class "+LoadBalancerClass+" are always served, Services of other classes never.")
}

// validate returns what is wrong with the options.
func (o *Options) validate() error {
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		return fmt.Errorf("--namespace %q: %s", o.Namespace, strings.Join(problems, "; "))
	}
	return nil
}

// setDefaults makes the defaults of the stock options fit clusters with
// thousands of Services, and a hand-over between replicas that nobody waits for.
func (o *Options) setDefaults(s *options.CloudControllerManagerOptions) {
	s.KubeCloudShared.CloudProvider.Name = Name
	s.KubeCloudShared.ConfigureCloudRoutes = false
	s.ServiceController.ConcurrentServiceSyncs = 16

	// The stock 20 requests a second are 5 Services a second. As many requests as
	// there are workers at a time is limit enough, and fairness between clients
	// is the API server's business.
	s.Generic.ClientConnection.QPS = -1

	// A leader that is told to stop releases the lease, and the standby sees
	// that at its next try: at most 2.2 retry periods later. One that dies is
	// replaced when the lease has run out: after 9 to 11 seconds.
	election := &s.Generic.LeaderElection
	election.ResourceName = "herald-cloud-controller-manager"
	election.ResourceNamespace = o.Namespace
	election.LeaseDuration.Duration = 10 * time.Second
	election.RenewDeadline.Duration = 6 * time.Second
	election.RetryPeriod.Duration = 500 * time.Millisecond

	// Whoever asks with a token is asked about at the API server; health and
	// metrics need none.
	s.Authentication.SkipInClusterLookup = true
	s.Authorization.AlwaysAllowPaths = append(s.Authorization.AlwaysAllowPaths, "/metrics")

	s.Webhook, s.WebhookServing = nil, nil
}
