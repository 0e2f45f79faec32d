# Who may read counts and sums. These sentences go with those of access.rego, in the same form: a request is refused unless every one
# holds. Groups that are too small are left out by the gateway, in the query.
package dizuo.access

# METADATA
# title: Counts and sums are asked for
aggregate if input.aggregate

# METADATA
# title: The agreement gives counts and sums
gives_aggregates if grant.aggregates.smallCell > 1

# METADATA
# title: The agreement gives single records
# description: One that has no aggregates does; one that has them does, unless it says that it gives nothing else.
gives_records if not grant.aggregates

gives_records if {
	grant.aggregates
	object.get(grant.aggregates, "only", false) == false
}

# METADATA
# title: The agreement gives no counts and sums
reasons contains "AggregatesNotGranted" if {
	grant
	aggregate
	not gives_aggregates
}

# METADATA
# title: The agreement gives nothing but counts and sums, and records were asked for
reasons contains "AggregatesOnly" if {
	grant
	not aggregate
	not gives_records
}

# METADATA
# title: It was asked to group by a field, or to pick by one, that is no dimension of the agreement
reasons contains "DimensionNotGranted" if {
	grant
	some name in dimensions_asked
	not name in object.get(grant.aggregates, "dimensions", [])
}

# METADATA
# title: A field that is grouped by
dimensions_asked contains name if some name in input.aggregate.by

# METADATA
# title: A field that groups are picked by
dimensions_asked contains condition.field if {
	aggregate
	some condition in input.filter
}

# METADATA
# title: It was asked to sum a field that is no measure of the agreement
reasons contains "MeasureNotGranted" if {
	grant
	some name in input.aggregate.sum
	not name in object.get(grant.aggregates, "measures", [])
}
