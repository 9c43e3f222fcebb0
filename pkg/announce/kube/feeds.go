package kube

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Feeds lists and watches the kinds of objects that a Source reads.
type Feeds struct {
	Services, EndpointSlices, Nodes, Config, Pods cache.ListerWatcher

	// Secret is for the one Secret of a name.
	Secret func(name string) cache.ListerWatcher
}

// Clients talk to the two API groups that the announcer needs. They decode into
// a scheme with these alone.
type Clients struct {
	core, discovery rest.Interface
}

// NewClients returns clients for the API server of a configuration.
func NewClients(c *rest.Config) (*Clients, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("the API's types do not fit together: %w", err)
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
	open := func(path string, gv schema.GroupVersion) (rest.Interface, error) {
		group := rest.CopyConfig(c)
		group.APIPath, group.GroupVersion, group.NegotiatedSerializer = path, &gv, codecs
		group.ContentType = runtime.ContentTypeProtobuf
		group.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		return rest.RESTClientFor(group)
	}
	core, err := open("/api", corev1.SchemeGroupVersion)
	if err != nil {
		return nil, fmt.Errorf("API client: %w", err)
	}
	discovery, err := open("/apis", discoveryv1.SchemeGroupVersion)
	if err != nil {
		return nil, fmt.Errorf("API client: %w", err)
	}
	return &Clients{core: core, discovery: discovery}, nil
}

// Feeds returns what a Source reads: Services of type LoadBalancer, the
// EndpointSlices of Services with endpoints of their own, and Nodes of the
// whole cluster; of one namespace the accepted configuration, the Pods that
// match a label selector, and Secrets one by one.
func (c *Clients) Feeds(namespace, podSelector string) Feeds {
	return Feeds{
		Services: feed(c.core, "services", "", func(o *metav1.ListOptions) {
			o.FieldSelector = "spec.type=" + string(corev1.ServiceTypeLoadBalancer)
		}),
		EndpointSlices: feed(c.discovery, "endpointslices", "", func(o *metav1.ListOptions) {
			o.LabelSelector = discoveryv1.LabelServiceName + ",!" + corev1.IsHeadlessService
		}),
		Nodes: feed(c.core, "nodes", "", func(*metav1.ListOptions) {}),
		Config: feed(c.core, "configmaps", namespace, func(o *metav1.ListOptions) {
			o.FieldSelector = "metadata.name=" + AcceptedConfig
		}),
		Pods: feed(c.core, "pods", namespace, func(o *metav1.ListOptions) {
			o.LabelSelector = podSelector
		}),
		Secret: func(name string) cache.ListerWatcher {
			return feed(c.core, "secrets", namespace, func(o *metav1.ListOptions) {
				o.FieldSelector = "metadata.name=" + name
			})
		},
	}
}

func feed(client rest.Interface, resource, namespace string, narrow func(*metav1.ListOptions)) cache.ListerWatcher {
	lw := cache.NewFilteredListWatchFromClient(client, resource, namespace, narrow)
	return cache.ToListWatcherWithWatchListSemantics(lw, client)
}
