package secrets

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// informer follows the Secrets of one namespace. The zero value stands for a namespace that does not admit Dizuo.
type informer struct {
	cache   cache.Cache
	stop    context.CancelFunc
	refused time.Time // when access was last refused; zero if it was granted

	mu   sync.Mutex
	held map[string]*corev1.Secret // by name: those that were asked for
}

// metadata gives the form in which informers hold Secrets.
func metadata() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return m
}

// slim keeps of a Secret's metadata what tells that it is there and whether it changed: annotations may hold all of its content.
func slim(o any) (any, error) {
	if m, ok := o.(*metav1.PartialObjectMetadata); ok {
		m.Annotations, m.ManagedFields = nil, nil
	}
	return o, nil
}

// start begins to follow the Secrets of a namespace and waits until all are known, or ctx ends.
func (s *Store) start(ctx context.Context, namespace string) (*informer, error) {
	c, err := cache.New(s.config, cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}, DefaultTransform: slim})
	if err != nil {
		return nil, fmt.Errorf("Secrets of namespace %s: %w", namespace, err)
	}
	i := &informer{cache: c, held: map[string]*corev1.Secret{}}
	inf, err := c.GetInformer(ctx, metadata(), cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("Secrets of namespace %s: %w", namespace, err)
	}
	tell := func(o any, gone bool) {
		if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if secret, ok := o.(client.Object); ok {
			present := secret.GetResourceVersion()
			if gone {
				present = ""
			}
			i.forget(secret.GetName(), present)
			s.Changed(client.ObjectKeyFromObject(secret))
		}
	}
	if _, err := inf.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) { tell(o, false) }, UpdateFunc: func(_, o any) { tell(o, false) }, DeleteFunc: func(o any) { tell(o, true) },
	}); err != nil {
		return nil, fmt.Errorf("Secrets of namespace %s: %w", namespace, err)
	}
	run, stop := context.WithCancel(s.ctx)
	go func() { _ = c.Start(run) }()
	if !c.WaitForCacheSync(ctx) {
		stop()
		return nil, fmt.Errorf("Secrets of namespace %s: not synced: %w", namespace, context.Cause(ctx))
	}
	i.stop = stop
	return i, nil
}

// holds gives a Secret that was read before and is still the same.
func (i *informer) holds(name, resourceVersion string) *corev1.Secret {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.held[name]; s != nil && s.ResourceVersion == resourceVersion {
		return s
	}
	return nil
}

func (i *informer) hold(s *corev1.Secret) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.held[s.Name] = s
}

// forget drops the content of a Secret that is not the present one any more.
func (i *informer) forget(name, resourceVersion string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.held[name]; s != nil && s.ResourceVersion != resourceVersion {
		delete(i.held, name)
	}
}
