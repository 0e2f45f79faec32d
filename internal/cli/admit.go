package cli

import (
	"github.com/spf13/cobra"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// RoleNamespace is the ClusterRole that a namespace's owner binds to admit Dizuo to Secrets there, and the binding's name.
const RoleNamespace = "dizuo-namespace"

func (a *app) admitCommand() *cobra.Command {
	var systemNamespace, account string
	cmd := &cobra.Command{
		Use:   "admit NAMESPACE",
		Short: "Print the RoleBinding by which a namespace admits Dizuo to its Secrets",
		Long: `Print the RoleBinding by which the owner of a namespace lets the operator use Secrets there, and nowhere else. The operator
may not make one itself. Pipe it to kubectl:

  dizuo admit henan | kubectl apply -f -`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, name := range []string{args[0], systemNamespace} {
				if len(validation.IsDNS1123Label(name)) > 0 {
					return usage("%q is no name of a namespace; write lower-case letters, digits and hyphens", name)
				}
			}
			raw, err := yaml.Marshal(binding(args[0], systemNamespace, account))
			if err != nil {
				return err
			}
			_, err = a.Out.Write(raw)
			return err
		},
	}
	cmd.Flags().StringVar(&systemNamespace, "system-namespace", "dizuo-system", "namespace of the operator")
	cmd.Flags().StringVar(&account, "service-account", "dizuo-operator", "service account of the operator")
	return cmd
}

func binding(namespace, systemNamespace, account string) map[string]any {
	b := rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: RoleNamespace, Namespace: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: RoleNamespace},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: systemNamespace}},
	}
	// As a map: the type would print an empty creationTimestamp.
	return map[string]any{
		"apiVersion": rbacv1.SchemeGroupVersion.String(), "kind": "RoleBinding",
		"metadata": map[string]any{"name": b.Name, "namespace": b.Namespace}, "roleRef": b.RoleRef, "subjects": b.Subjects,
	}
}
