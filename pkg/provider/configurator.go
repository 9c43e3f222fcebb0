package provider

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/herald-lb/herald/pkg/config"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// The ConfigMaps: what the user writes, and what was accepted of it.
const (
	configName = "config"
	liveName   = "config-live"
	// documentKey is the key of the document in both.
	documentKey = "config"
	// classlessKey in config-live says whether Services without a class are ours.
	classlessKey = "classless"
)

// Reasons of Events on the ConfigMap config.
const (
	reasonAccepted = "ConfigAccepted"
	reasonRefused  = "ConfigRefused"
)

// publishRetry is the pause after a failure to write config-live.
const publishRetry = time.Second

// configurator judges the user's ConfigMap and publishes what is accepted as
// config-live, where it stays: it is what announcers read, and what the next
// leader starts from, so that what is refused once stays refused.
type configurator struct {
	options  Options
	ledger   *ledger
	metrics  *collectors
	client   corev1.ConfigMapsGetter
	recorder record.EventRecorder
	configs  corelisters.ConfigMapNamespaceLister // sees config
	lives    corelisters.ConfigMapNamespaceLister // sees config-live
	apply    func([]decision)

	look    chan struct{} // something changed
	strands atomic.Bool   // the candidate is refused because of Services that may go away

	// The fields below belong to the goroutine of start and run.
	live live
	last candidate // the one judged last; its document need not be parsed again
	told string    // the last refusal that was told of
}

// start reads what was accepted last and returns it; nil if there is nothing.
// The lister must be synced.
func (c *configurator) start(ctx context.Context) *config.Config {
	cm, err := c.lives.Get(liveName)
	if err != nil {
		return nil
	}
	log := klog.FromContext(ctx)
	generation, err := strconv.ParseUint(cm.Annotations[AnnotationGeneration], 10, 64)
	if err != nil {
		log.Error(err, "The generation of the accepted configuration is unreadable, counting from 0", "configMap", klog.KObj(cm))
	}
	c.live.generation = generation
	accepted, err := config.Parse([]byte(cm.Data[documentKey]))
	if err != nil {
		log.Error(err, "The accepted configuration is unreadable, starting without", "configMap", klog.KObj(cm))
		return nil
	}
	c.live.document, c.live.config = cm.Data[documentKey], accepted
	c.metrics.generation.Set(float64(generation))
	return accepted
}

// poke makes run look at both ConfigMaps again.
func (c *configurator) poke() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// freed tells that addresses are no longer in use.
func (c *configurator) freed() {
	if c.strands.Load() {
		c.poke()
	}
}

// run judges and publishes until ctx ends.
func (c *configurator) run(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.look:
		case <-retry.C:
		}
		c.judge(ctx)
		if err := c.publish(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Publishing the accepted configuration failed, will be tried again")
			retry.Reset(publishRetry)
		}
	}
}

// judge looks at the user's ConfigMap and applies it if it is accepted.
func (c *configurator) judge(ctx context.Context) {
	cm, err := c.configs.Get(configName)
	if err != nil {
		cm = nil
	}
	next := c.candidate(cm)
	v, decisions := c.ledger.reconfigure(func(stranded strandedFunc) verdict { return judge(next, c.live, stranded) })
	if v.outcome == accepted {
		c.live = live{document: next.document, config: v.config, generation: c.live.generation + 1}
	}
	c.strands.Store(v.cause == strands)
	c.tell(ctx, cm, v)
	c.apply(decisions)
}

// candidate reads the user's ConfigMap, which is nil if there is none.
func (c *configurator) candidate(cm *v1.ConfigMap) candidate {
	next := candidate{name: c.options.Namespace + "/" + configName}
	if cm == nil {
		return next
	}
	next.present = true
	next.allowLoss = cm.Annotations[AnnotationAllowAddressLoss] == "true"
	document, ok := cm.Data[documentKey]
	if !ok {
		next.err = fmt.Errorf("the ConfigMap has no key %q but %q; put the document under that key", documentKey, slices.Sorted(maps.Keys(cm.Data)))
		return next
	}
	next.document = document
	if c.last.present && c.last.document == document && (c.last.config != nil || c.last.err != nil) {
		next.config, next.err = c.last.config, c.last.err
	} else {
		next.config, next.err = config.Parse([]byte(document))
	}
	c.last = next
	return next
}

// tell says what became of the ConfigMap, once per change.
func (c *configurator) tell(ctx context.Context, cm *v1.ConfigMap, v verdict) {
	log := klog.FromContext(ctx)
	stale := 0.0
	if v.outcome == refused || v.outcome == absent {
		stale = 1
	}
	c.metrics.stale.Set(stale)
	c.metrics.generation.Set(float64(c.live.generation))
	if v.outcome != refused {
		c.told = ""
	}
	switch v.outcome {
	case accepted:
		log.Info("Configuration accepted", "generation", c.live.generation, "pools", len(v.config.Pools), "peers", len(v.config.Peers))
		c.recorder.Eventf(cm, v1.EventTypeNormal, reasonAccepted, "Generation %d is live: %d pools, %d peers",
			c.live.generation, len(v.config.Pools), len(v.config.Peers))
	case refused:
		message := v.message()
		if message == c.told {
			return
		}
		c.told = message
		c.metrics.refusals.WithLabelValues(string(v.cause)).Inc()
		c.metrics.lastRefused.SetToCurrentTime()
		log.Error(nil, "Configuration refused", "cause", v.cause, "problems", v.problems)
		c.recorder.Event(cm, v1.EventTypeWarning, reasonRefused, message)
	}
}

// publish makes config-live show what is live.
func (c *configurator) publish(ctx context.Context) error {
	if c.live.config == nil {
		return nil
	}
	want := &v1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.options.Namespace, Name: liveName,
			Annotations: map[string]string{
				AnnotationGeneration: strconv.FormatUint(c.live.generation, 10),
				AnnotationHash:       hash(c.live.document),
			},
		},
		Data: map[string]string{
			documentKey:  c.live.document,
			classlessKey: strconv.FormatBool(c.options.ServeClassless),
		},
	}
	have, err := c.lives.Get(liveName)
	switch {
	case apierrors.IsNotFound(err):
		_, err = c.client.ConfigMaps(c.options.Namespace).Create(ctx, want, metav1.CreateOptions{})
	case err == nil && !publishes(have, want):
		changed := have.DeepCopy()
		if changed.Annotations == nil {
			changed.Annotations = make(map[string]string)
		}
		maps.Copy(changed.Annotations, want.Annotations)
		changed.Data, changed.BinaryData = want.Data, nil
		_, err = c.client.ConfigMaps(c.options.Namespace).Update(ctx, changed, metav1.UpdateOptions{})
	}
	switch {
	case apierrors.IsAlreadyExists(err), apierrors.IsConflict(err):
		return nil // the cache is behind; what it gets next makes us look again
	case apierrors.HasStatusCause(err, v1.NamespaceTerminatingCause):
		return nil // everything is being taken down
	case err != nil:
		return fmt.Errorf("config map %s/%s: %w", c.options.Namespace, liveName, err)
	}
	return nil
}

// publishes tells whether the ConfigMap shows all that want does.
func publishes(have, want *v1.ConfigMap) bool {
	for name, value := range want.Annotations {
		if have.Annotations[name] != value {
			return false
		}
	}
	return maps.Equal(have.Data, want.Data) && len(have.BinaryData) == 0
}
