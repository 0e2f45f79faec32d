package compile

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
)

// DatabaseStanding is how the database stands in the cluster.
type DatabaseStanding struct {
	// Engine holds the data; empty before the first.
	Engine v1alpha1.DatabaseEngine
	// Writers is how many pods run that may write to it.
	Writers int32
	// SourceReady and TargetReady say that the engine that holds the data and the one that it moves to take connections.
	SourceReady, TargetReady bool
	// Move names the move that is under way, To its engine; empty while nothing moves.
	Move string
	To   v1alpha1.DatabaseEngine
	// Copy is how the copying of that move stands.
	Copy CopyState
}

// CopyState is how the Job stands that copies the data from one engine to another.
type CopyState string

// States of copying.
const (
	CopyNone    CopyState = ""
	CopyRunning CopyState = "Running"
	CopyDone    CopyState = "Done"
	CopyFailed  CopyState = "Failed"
	// CopyOther: a Job of another move is there. It has to go first.
	CopyOther CopyState = "Other"
)

// DatabasePlan says which engine serves, and how the data moves to another.
//
//	serving --spec.database.engine changes--> Stopping: grid and gateway go to no pods; the ingest log keeps what devices send
//	        --nobody writes any more--------> Preparing: the other engine starts
//	        --it takes connections----------> Copying: a Job copies the schemas
//	        --done--------------------------> the other engine serves; what the first one held stays where it is
type DatabasePlan struct {
	// Serves is the database that holds the data.
	Serves Database
	// To is the database that the data moves to; nil while nothing moves.
	To *Database
	// Phase of the move.
	Phase MovePhase
	// Move names the move. A Job that bears another name says nothing of this one.
	Move string
}

// MovePhase is a phase of a move.
type MovePhase string

// Phases of a move.
const (
	MoveNone      MovePhase = ""
	MoveStopping  MovePhase = "Stopping"
	MovePreparing MovePhase = "Preparing"
	MoveCopying   MovePhase = "Copying"
	// MoveFailed: the Job failed. The data is where it was; nobody writes until the Job is deleted, which begins it anew, or the
	// former engine is written again.
	MoveFailed MovePhase = "Failed"
	// MoveDone: the data is in the other engine. The status must say so before anything else is done.
	MoveDone MovePhase = "Done"
)

// Moving says that nobody may write to the database.
func (p DatabasePlan) Moving() bool { return p.Phase != MoveNone }

// Runs lists the engines whose objects stand.
func (p DatabasePlan) Runs() []Database {
	out := []Database{p.Serves}
	if p.To != nil && (p.Phase == MovePreparing || p.Phase == MoveCopying || p.Phase == MoveFailed || p.Phase == MoveDone) {
		out = append(out, *p.To)
	}
	return out
}

// Database is a PostgreSQL database: where it is and who owns it.
type Database struct {
	Engine v1alpha1.DatabaseEngine
	Host   string
	Port   int32
	Name   string
	Owner  string
	// OwnerPassword is set with engine External only: the others have theirs in SecretDatabase.
	OwnerPassword []byte
	// CA is a PEM bundle, with engine External only; empty means the public roots. The others stand under the platform's CA.
	CA string
}

// Names of Services and objects of the engines.
const (
	ServicePostgres = "dizuo-postgres"
	ClusterCNPG     = "dizuo-db"
	// JobMove copies the data from one engine to another.
	JobMove = "dizuo-database-move"
	// AnnotationMove, on the Job's pod, names the move that it belongs to.
	AnnotationMove = "dizuo.io/move"
)

func database(c *problems, s *Snapshot) DatabasePlan {
	wanted, standing := s.Platform.Spec.Database.Engine, s.Standing.Database
	if wanted == "" {
		wanted = v1alpha1.DatabaseManaged
	}
	holds := standing.Engine
	if holds == "" {
		holds = wanted
	}
	plan := DatabasePlan{Serves: engine(c, s, holds)}
	if holds == wanted {
		return plan
	}
	to := engine(c, s, wanted)
	plan.To, plan.Phase, plan.Move = &to, movePhase(standing), MoveName(s.Platform, standing)
	return plan
}

// MoveName names the move of a platform's database: by the generation that asked for it.
func MoveName(p *v1alpha1.GridPlatform, at DatabaseStanding) string {
	if at.Move != "" && at.To == p.Spec.Database.Engine {
		return at.Move
	}
	return strconv.FormatInt(p.Generation, 10)
}

// movePhase gives the phase of a move. A Job that runs goes on, whatever else happens: to take it away would only begin it anew.
func movePhase(at DatabaseStanding) MovePhase {
	switch {
	case at.Copy == CopyDone:
		return MoveDone
	case at.Copy == CopyFailed:
		return MoveFailed
	case at.Copy == CopyRunning:
		return MoveCopying
	case at.Writers > 0:
		return MoveStopping
	case at.Copy == CopyOther, !at.SourceReady, !at.TargetReady:
		return MovePreparing
	}
	return MoveCopying
}

func engine(c *problems, s *Snapshot, e v1alpha1.DatabaseEngine) Database {
	d := Database{Engine: e, Port: 5432, Name: contract.DatabaseName, Owner: contract.DatabaseOwner}
	ns := s.Platform.Namespace
	switch e {
	case v1alpha1.DatabaseCloudNativePG:
		c.requires(s, GroupCloudNativePG, "spec.database.engine", "which runs PostgreSQL")
		d.Host = hostCNPG(ns)
	case v1alpha1.DatabaseExternal:
		external(c, s, &d)
	default:
		d.Host = hostManaged(ns)
	}
	return d
}

func hostCNPG(namespace string) string { return ClusterCNPG + "-rw." + namespace + ".svc" }

func hostManaged(namespace string) string { return ServicePostgres + "." + namespace + ".svc" }

// EngineAt gives the engine whose database a service of the platform in that namespace reaches at host; "" for no host.
func EngineAt(host, namespace string) v1alpha1.DatabaseEngine {
	switch host {
	case "":
		return ""
	case hostManaged(namespace):
		return v1alpha1.DatabaseManaged
	case hostCNPG(namespace):
		return v1alpha1.DatabaseCloudNativePG
	}
	return v1alpha1.DatabaseExternal
}

// external reads the connection string of a database that exists. A move away from it needs it still.
func external(c *problems, s *Snapshot, d *Database) {
	spec := s.Platform.Spec.Database.External
	if spec == nil {
		c.invalid(v1alpha1.ConditionAccepted, v1alpha1.ReasonInvalidSpec, "spec.database.external",
			"the data is in an external database: leave external in the spec until it has moved")
		return
	}
	ref, field := spec.DSNSecretRef, "spec.database.external.dsnSecretRef"
	raw, there := s.Secrets[types.NamespacedName{Namespace: s.Platform.Namespace, Name: ref.Name}]
	if !there {
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretNotFound, field, "Secret "+ref.Name+" is not there")
		return
	}
	if err := parseDSN(string(raw[ref.Key]), d); err != nil { // the message must not quote the string: it holds the password
		c.waiting(v1alpha1.ConditionReferencesResolved, v1alpha1.ReasonSecretInvalid, field, fmt.Sprintf("Secret %s, key %s: %v", ref.Name, ref.Key, err))
	}
	d.CA = spec.CABundle
}

var databaseName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}$`)

// parseDSN reads postgres://user:password@host:5432/database?sslmode=verify-full. An error quotes nothing of it.
func parseDSN(dsn string, d *Database) error {
	const write = "write postgres://user:password@host:5432/database?sslmode=verify-full"
	u, err := url.Parse(strings.TrimSpace(dsn))
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") || u.Hostname() == "" || u.User == nil {
		return fmt.Errorf("not a connection string; %s", write)
	}
	password, has := u.User.Password()
	name := strings.TrimPrefix(u.Path, "/")
	switch {
	case !has || password == "" || u.User.Username() == "":
		return fmt.Errorf("user or password is missing; %s", write)
	case !databaseName.MatchString(name): // anything else may be a connection string of its own to PostgreSQL's programs
		return fmt.Errorf("the database's name is missing, or has other characters than letters, digits, _ and -; %s", write)
	case strings.Contains(u.Hostname(), ","):
		return fmt.Errorf("names more than one host: name the one that is writable, such as a virtual address; %s", write)
	}
	for key, values := range u.Query() {
		if key != "sslmode" || len(values) != 1 || values[0] != "verify-full" {
			return fmt.Errorf("a parameter other than sslmode=verify-full is not taken: connections use TLS with verify-full and nothing else; %s", write)
		}
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("the port is no number from 1 to 65535; %s", write)
		}
		d.Port = int32(n)
	}
	d.Host, d.Name, d.Owner, d.OwnerPassword = u.Hostname(), name, u.User.Username(), []byte(password)
	return nil
}
