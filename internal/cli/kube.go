package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// kubeFlags say how the cluster is reached: as kubectl does it.
type kubeFlags struct{ kubeconfig, context string }

func (f *kubeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig; default: as kubectl finds it")
	cmd.Flags().StringVar(&f.context, "context", "", "context of the kubeconfig")
}

// connect gives a client and the namespace of the context.
func (f *kubeFlags) connect() (client.Client, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	config := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context})
	rest, err := config.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("cluster: %w", err)
	}
	namespace, _, err := config.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("cluster: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, "", err
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, "", err
	}
	rest.QPS, rest.Burst = 50, 100 // a status reads a dozen lists at once
	log.SetLogger(logr.Discard())  // what goes wrong comes back as an error; without a logger the library complains of its lack after 30 s
	c, err := client.New(rest, client.Options{Scheme: scheme})
	if err != nil {
		return nil, "", fmt.Errorf("cluster: %w", err)
	}
	return c, namespace, nil
}

// secret reads a Secret, named namespace/name.
func (a *app) secret(ctx context.Context, f *kubeFlags, ref string) (map[string][]byte, error) {
	at, err := namespaced("--secret", ref)
	if err != nil {
		return nil, err
	}
	c, _, err := f.connect()
	if err != nil {
		return nil, err
	}
	var s corev1.Secret
	if err := c.Get(ctx, at, &s); err != nil {
		return nil, fmt.Errorf("Secret %s: %w", ref, err)
	}
	return s.Data, nil
}

// namespaced reads "namespace/name".
func namespaced(flag, ref string) (types.NamespacedName, error) {
	namespace, name, ok := strings.Cut(ref, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return types.NamespacedName{}, usage("%s %q: write namespace/name", flag, ref)
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}
