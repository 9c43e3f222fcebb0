package kube

import (
	"fmt"
	"reflect"
	"sync"

	"k8s.io/client-go/tools/cache"
)

// table keeps what convert makes of the objects of one kind, by
// namespace/name. A reflector writes it.
type table[T, V any] struct {
	convert func(T) (V, bool)
	changed func() // called, not under the lock, after each change that can be seen

	mu     sync.Mutex // guards the fields below
	items  map[string]V
	synced bool
}

var _ cache.ReflectorStore = (*table[int, int])(nil)

func newTable[T, V any](convert func(T) (V, bool), changed func()) *table[T, V] {
	return &table[T, V]{convert: convert, changed: changed, items: map[string]V{}}
}

// read calls f with the items, which it must not keep.
func (t *table[T, V]) read(f func(items map[string]V)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(t.items)
}

// hasSynced reports whether the objects have been listed at least once.
func (t *table[T, V]) hasSynced() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.synced
}

// Add is Update.
func (t *table[T, V]) Add(obj any) error { return t.Update(obj) }

// Update takes one object in.
func (t *table[T, V]) Update(obj any) error {
	key, value, ok, err := t.entry(obj)
	if err != nil {
		return err
	}
	t.mu.Lock()
	old, had := t.items[key]
	switch {
	case ok:
		t.items[key] = value
	case had:
		delete(t.items, key)
	}
	t.mu.Unlock()
	if ok != had || ok && !reflect.DeepEqual(old, value) {
		t.changed()
	}
	return nil
}

// Delete forgets one object.
func (t *table[T, V]) Delete(obj any) error {
	key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
	if err != nil {
		return err
	}
	t.mu.Lock()
	_, had := t.items[key]
	delete(t.items, key)
	t.mu.Unlock()
	if had {
		t.changed()
	}
	return nil
}

// Replace forgets all objects and takes the list in instead.
func (t *table[T, V]) Replace(objs []any, _ string) error {
	items := make(map[string]V, len(objs))
	for _, obj := range objs {
		key, value, ok, err := t.entry(obj)
		if err != nil {
			return err
		}
		if ok {
			items[key] = value
		}
	}
	t.mu.Lock()
	same := t.synced && reflect.DeepEqual(t.items, items)
	t.items, t.synced = items, true
	t.mu.Unlock()
	if !same {
		t.changed()
	}
	return nil
}

// Resync does nothing: there is nobody to be told again.
func (t *table[T, V]) Resync() error { return nil }

func (t *table[T, V]) entry(obj any) (key string, value V, ok bool, err error) {
	typed, isT := obj.(T)
	if !isT {
		return "", value, false, fmt.Errorf("got a %T from the API server, want a %T", obj, typed)
	}
	if key, err = cache.MetaNamespaceKeyFunc(obj); err != nil {
		return "", value, false, err
	}
	value, ok = t.convert(typed)
	return key, value, ok, nil
}
