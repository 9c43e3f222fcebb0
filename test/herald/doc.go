// Package herald puts Herald on a lab as users put it on their clusters: by the
// shipped manifests and a ConfigMap. Tests and benchmarks begin here.
package herald
