package render

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
)

// The module of CloudNativePG cannot be imported. These are the few of its types that are rendered, checked against its CRDs in
// test/controlplane. API: postgresql.cnpg.io/v1, https://cloudnative-pg.io/documentation/current/cloudnative-pg.v1/

const (
	secretCNPGTLS = "dizuo-db-tls"
	// labelCNPGReload makes CloudNativePG read a Secret again when it changes.
	labelCNPGReload  = "cnpg.io/reload"
	labelCNPGCluster = "cnpg.io/cluster"
	versionCNPG      = compile.GroupCloudNativePG + "/v1"
	portCNPGStatus   = 8000
	portCNPGMetrics  = 9187
)

// foreign is the head of an object whose module cannot be imported; it gives the methods of Object.
type foreign struct {
	metav1ac.TypeMetaApplyConfiguration    `json:",inline"`
	*metav1ac.ObjectMetaApplyConfiguration `json:"metadata,omitempty"`
}

// IsApplyConfiguration implements runtime.ApplyConfiguration.
func (foreign) IsApplyConfiguration() {}

func (p platform) foreign(apiVersion, kind, name, component string) foreign {
	return foreign{*metav1ac.TypeMeta().WithAPIVersion(apiVersion).WithKind(kind),
		metav1ac.ObjectMeta().WithName(name).WithNamespace(p.Namespace).WithLabels(labels(p.owner, component))}
}

type (
	cnpgCluster struct {
		foreign `json:",inline"`
		Spec    cnpgClusterSpec `json:"spec"`
	}
	cnpgClusterSpec struct {
		Instances                 int32                                                  `json:"instances"`
		ImageName                 string                                                 `json:"imageName,omitempty"`
		ImagePullPolicy           string                                                 `json:"imagePullPolicy,omitempty"`
		ImagePullSecrets          []cnpgName                                             `json:"imagePullSecrets,omitempty"`
		EnableSuperuserAccess     bool                                                   `json:"enableSuperuserAccess"`
		EnablePDB                 bool                                                   `json:"enablePDB"`
		PrimaryUpdateMethod       string                                                 `json:"primaryUpdateMethod"`
		Storage                   cnpgStorage                                            `json:"storage"`
		Resources                 *corev1ac.ResourceRequirementsApplyConfiguration       `json:"resources,omitempty"`
		Affinity                  cnpgAffinity                                           `json:"affinity"`
		TopologySpreadConstraints []*corev1ac.TopologySpreadConstraintApplyConfiguration `json:"topologySpreadConstraints,omitempty"`
		Certificates              cnpgCertificates                                       `json:"certificates"`
		Bootstrap                 cnpgBootstrap                                          `json:"bootstrap"`
		Managed                   cnpgManaged                                            `json:"managed"`
		Postgresql                cnpgPostgresql                                         `json:"postgresql"`
		Backup                    *cnpgBackup                                            `json:"backup,omitempty"`
		Plugins                   []cnpgPlugin                                           `json:"plugins,omitempty"`
	}
	cnpgName struct {
		Name string `json:"name"`
	}
	cnpgKey struct {
		Name string `json:"name"`
		Key  string `json:"key"`
	}
	cnpgStorage struct {
		Size         resource.Quantity `json:"size"`
		StorageClass string            `json:"storageClass,omitempty"`
	}
	cnpgAffinity struct {
		EnablePodAntiAffinity bool   `json:"enablePodAntiAffinity"`
		PodAntiAffinityType   string `json:"podAntiAffinityType"`
		TopologyKey           string `json:"topologyKey"`
	}
	cnpgCertificates struct {
		ServerTLSSecret string `json:"serverTLSSecret"`
		ServerCASecret  string `json:"serverCASecret"`
	}
	cnpgBootstrap struct {
		InitDB cnpgInitDB `json:"initdb"`
	}
	cnpgInitDB struct {
		Database      string   `json:"database"`
		Owner         string   `json:"owner"`
		Secret        cnpgName `json:"secret"`
		DataChecksums bool     `json:"dataChecksums"`
	}
	cnpgManaged struct {
		Roles    []cnpgRole   `json:"roles"`
		Services cnpgServices `json:"services"`
	}
	// cnpgRole carries all that the schema would add: the list is one value to server-side apply.
	cnpgRole struct {
		Name            string   `json:"name"`
		Ensure          string   `json:"ensure"`
		Login           bool     `json:"login"`
		Inherit         bool     `json:"inherit"`
		ConnectionLimit int64    `json:"connectionLimit"`
		PasswordSecret  cnpgName `json:"passwordSecret"`
	}
	cnpgServices struct {
		DisabledDefaultServices []string `json:"disabledDefaultServices"`
	}
	cnpgPostgresql struct {
		Parameters  map[string]string `json:"parameters,omitempty"`
		Synchronous *cnpgSynchronous  `json:"synchronous,omitempty"`
	}
	cnpgSynchronous struct {
		Method         string `json:"method"`
		Number         int32  `json:"number"`
		DataDurability string `json:"dataDurability"`
		FailoverQuorum *bool  `json:"failoverQuorum,omitempty"`
	}
	cnpgBackup struct {
		RetentionPolicy   string     `json:"retentionPolicy"`
		BarmanObjectStore cnpgBarman `json:"barmanObjectStore"`
	}
	cnpgBarman struct {
		DestinationPath string            `json:"destinationPath"`
		EndpointURL     string            `json:"endpointURL,omitempty"`
		S3Credentials   cnpgS3            `json:"s3Credentials"`
		Wal             cnpgBarmanSection `json:"wal"`
		Data            cnpgBarmanSection `json:"data"`
	}
	cnpgS3 struct {
		InheritFromIAMRole *bool    `json:"inheritFromIAMRole,omitempty"`
		AccessKeyID        *cnpgKey `json:"accessKeyId,omitempty"`
		SecretAccessKey    *cnpgKey `json:"secretAccessKey,omitempty"`
	}
	cnpgBarmanSection struct {
		Compression string `json:"compression"`
	}
	cnpgPlugin struct {
		Name          string            `json:"name"`
		Enabled       bool              `json:"enabled"`
		IsWALArchiver bool              `json:"isWALArchiver"`
		Parameters    map[string]string `json:"parameters"`
	}
	cnpgScheduledBackup struct {
		foreign `json:",inline"`
		Spec    cnpgScheduledBackupSpec `json:"spec"`
	}
	cnpgScheduledBackupSpec struct {
		Schedule             string    `json:"schedule"`
		Cluster              cnpgName  `json:"cluster"`
		Immediate            bool      `json:"immediate"`
		BackupOwnerReference string    `json:"backupOwnerReference"`
		Method               string    `json:"method"`
		PluginConfiguration  *cnpgName `json:"pluginConfiguration,omitempty"`
	}
	// barmanObjectStore is of the plugin barman-cloud, barmancloud.cnpg.io/v1.
	barmanObjectStore struct {
		foreign `json:",inline"`
		Spec    barmanObjectStoreSpec `json:"spec"`
	}
	barmanObjectStoreSpec struct {
		Configuration   cnpgBarman `json:"configuration"`
		RetentionPolicy string     `json:"retentionPolicy"`
	}
)

const pluginBarman = "barman-cloud.cloudnative-pg.io"

// cloudNativePG gives the database of engine CloudNativePG: passwords, the Cluster, and its backups.
func (p platform) cloudNativePG() []Object {
	out := p.cnpgPasswords()
	cluster := p.cnpgCluster()
	if b := p.Spec.Database.Backups; b != nil {
		out = append(out, p.cnpgBackups(*b, &cluster)...)
	}
	return append(out, &cluster)
}

// cnpgPasswords gives the passwords in the form that CloudNativePG takes. They are the same as with the other engines.
func (p platform) cnpgPasswords() []Object {
	at := slices.IndexFunc(p.Secrets, func(s compile.GeneratedSecret) bool { return s.Name == compile.SecretDatabase })
	var out []Object
	users := map[string]string{"owner": contract.DatabaseOwner}
	for _, user := range contract.DatabaseUsers() {
		users[contract.DatabasePasswordKey(user)] = user
	}
	for key, user := range users {
		l := labels(p.owner, "")
		l[labelCNPGReload] = "true"
		out = append(out, corev1ac.Secret(cnpgSecret(key), p.Namespace).WithLabels(l).WithType(corev1.SecretTypeBasicAuth).
			WithData(map[string][]byte{"username": []byte(user), "password": p.Secrets[at].Data[key]}))
	}
	slices.SortFunc(out, func(a, b Object) int { return strings.Compare(*a.GetName(), *b.GetName()) })
	return out
}

func cnpgSecret(key string) string { return compile.ClusterCNPG + "-" + key }

func (p platform) cnpgCluster() cnpgCluster {
	spec := v1alpha1.CloudNativePGSpec{Instances: 3}
	if s := p.Spec.Database.CloudNativePG; s != nil {
		spec = *s
	}
	c := cnpgClusterSpec{
		Instances: spec.Instances, ImageName: spec.ImageName, ImagePullPolicy: string(p.Spec.Images.PullPolicy),
		EnablePDB: true, PrimaryUpdateMethod: "switchover",
		Storage:      cnpgStorage{Size: p.Spec.Database.Storage.Size},
		Resources:    p.resources(v1alpha1.ComponentPostgres, "100m", "256Mi"),
		Affinity:     cnpgAffinity{EnablePodAntiAffinity: true, PodAntiAffinityType: "preferred", TopologyKey: corev1.LabelHostname},
		Certificates: cnpgCertificates{ServerTLSSecret: secretCNPGTLS, ServerCASecret: secretCNPGTLS},
		Bootstrap: cnpgBootstrap{InitDB: cnpgInitDB{Database: contract.DatabaseName, Owner: contract.DatabaseOwner,
			Secret: cnpgName{cnpgSecret("owner")}, DataChecksums: true}},
		Managed:    cnpgManaged{Services: cnpgServices{[]string{"ro", "r"}}},
		Postgresql: cnpgPostgresql{Synchronous: synchronous(spec.Instances)},
		TopologySpreadConstraints: []*corev1ac.TopologySpreadConstraintApplyConfiguration{corev1ac.TopologySpreadConstraint().WithMaxSkew(1).
			WithTopologyKey(corev1.LabelTopologyZone).WithWhenUnsatisfiable(corev1.ScheduleAnyway).
			WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(map[string]string{labelCNPGCluster: compile.ClusterCNPG}))},
	}
	for _, user := range contract.DatabaseUsers() {
		c.Managed.Roles = append(c.Managed.Roles, cnpgLogin(user, contract.DatabasePasswordKey(user)))
	}
	if class := p.Spec.Database.Storage.StorageClassName; class != nil {
		c.Storage.StorageClass = *class
	}
	for _, s := range p.Spec.Images.PullSecrets {
		c.ImagePullSecrets = append(c.ImagePullSecrets, cnpgName{s.Name})
	}
	return cnpgCluster{p.foreign(versionCNPG, "Cluster", compile.ClusterCNPG, "database"), c}
}

func cnpgLogin(role, key string) cnpgRole {
	return cnpgRole{Name: role, Ensure: "present", Login: true, Inherit: true, ConnectionLimit: -1, PasswordSecret: cnpgName{cnpgSecret(key)}}
}

// synchronous makes a commit wait for a second copy: a failover would lose acknowledged cases otherwise. With two instances the
// loss of the standby would stop all writing, so there it is waited for while it is there.
func synchronous(instances int32) *cnpgSynchronous {
	quorum := true
	switch {
	case instances >= 3:
		return &cnpgSynchronous{Method: "any", Number: 1, DataDurability: "required", FailoverQuorum: &quorum}
	case instances == 2:
		return &cnpgSynchronous{Method: "any", Number: 1, DataDurability: "preferred"}
	}
	return nil
}

// cnpgBackups gives scheduled backups: by the plugin where it is installed, else by what CloudNativePG has built in, which goes
// with its version 1.31.
func (p platform) cnpgBackups(b v1alpha1.BackupSpec, cluster *cnpgCluster) []Object {
	store := cnpgBarman{DestinationPath: b.DestinationPath, EndpointURL: b.EndpointURL, Wal: cnpgBarmanSection{"gzip"}, Data: cnpgBarmanSection{"gzip"}}
	if ref := b.CredentialsSecretRef; ref != nil {
		store.S3Credentials = cnpgS3{AccessKeyID: &cnpgKey{ref.Name, "ACCESS_KEY_ID"}, SecretAccessKey: &cnpgKey{ref.Name, "ACCESS_SECRET_KEY"}}
	} else {
		inherit := true
		store.S3Credentials = cnpgS3{InheritFromIAMRole: &inherit}
	}
	retention := fmt.Sprintf("%dd", b.RetentionDays)
	schedule := cnpgScheduledBackupSpec{Schedule: b.Schedule, Cluster: cnpgName{compile.ClusterCNPG}, Immediate: true, BackupOwnerReference: "none", Method: "barmanObjectStore"}
	var out []Object
	if p.BackupPlugin {
		schedule.Method, schedule.PluginConfiguration = "plugin", &cnpgName{pluginBarman}
		cluster.Spec.Plugins = []cnpgPlugin{{Name: pluginBarman, Enabled: true, IsWALArchiver: true, Parameters: map[string]string{"barmanObjectName": compile.ClusterCNPG}}}
		out = append(out, &barmanObjectStore{p.foreign(compile.GroupBarman+"/v1", "ObjectStore", compile.ClusterCNPG, "database"),
			barmanObjectStoreSpec{Configuration: store, RetentionPolicy: retention}})
	} else {
		cluster.Spec.Backup = &cnpgBackup{RetentionPolicy: retention, BarmanObjectStore: store}
	}
	return append(out, &cnpgScheduledBackup{p.foreign(versionCNPG, "ScheduledBackup", compile.ClusterCNPG, "database"), schedule})
}
