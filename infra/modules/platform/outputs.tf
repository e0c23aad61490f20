output "accounts" {
  description = "Of each function, erlmcp and taiea, and of webhook where it is apart, the service account that it runs as: resource name, e-mail address, and the account as a member of IAM."
  value = { for function, made in { erlmcp = module.identity, taiea = module.taiea_identity, webhook = module.webhook_identity } : function => {
    account = try(made[0].account, "projects/${local.project}/serviceAccounts/${function == "erlmcp" ? var.name : local.taiea}@${local.project}.iam.gserviceaccount.com")
    email   = try(made[0].email, "${function == "erlmcp" ? var.name : local.taiea}@${local.project}.iam.gserviceaccount.com")
    member  = try(made[0].member, "serviceAccount:${function == "erlmcp" ? var.name : local.taiea}@${local.project}.iam.gserviceaccount.com")
  } if function != "webhook" || local.hooked }
}

output "attestor" {
  description = "Who signs images: resource names of the attestor, of its note, and of the version of the key; null where all images may run."
  value = var.unsigned_images == null ? null : try(module.attestation[0].attestor, {
    name = "projects/${local.project}/attestors/${var.name}-images"
    note = "projects/${local.project}/notes/${var.name}-images"
    key  = "projects/${local.project}/locations/${local.region}/keyRings/${var.name}-images/cryptoKeys/images/cryptoKeyVersions/1"
  })
}

output "backup" {
  description = "The account that backs up (resource name and e-mail address), the bucket, and the commands with their schedules; null where none is made here."
  value       = one([for b in module.backup : { account = b.account, email = b.email, bucket = b.bucket, commands = b.commands }])
}

output "certificate" {
  description = "Id of the certificate map, and the DNS record that proves the domain; null where none is made here."
  value       = one([for c in module.certificate : { map = c.map, record = c.record }])
}

output "databases" {
  description = "Firestore databases that serve: one for all, or that of what operators order, of what instances count, and of receipts."
  value       = local.serves
  depends_on  = [module.firestore, module.firestores]
}

output "events" {
  description = "Topic of events, the subscription that keeps those that were not taken, the e-mail address of the account that delivers, and PUBSUB_SERVICE_ACCOUNT; null for none."
  value       = one([for e in module.events : { topic = e.topic, dead_letters = e.dead_letters, account = e.account, publisher = e.publisher }])
}

output "network" {
  description = "Ids of the network and of the subnetwork, by which names Cloud Run has them, and the reserved addresses of Cloud NAT; null where there is none."
  value       = var.redis == null && var.network.existing == null && !var.network.static ? null : merge(local.network, { egress = try(module.network[0].egress, []) })
}

output "registry" {
  description = "Repository of images, and the name of the image, without a tag."
  value = {
    repository = try(module.registry[0].repository, var.name)
    image      = try(module.registry[0].image, "${local.region}-docker.pkg.dev/${local.project}/${var.name}/erlmcp")
  }
}

output "root_settings" {
  description = "What the control plane is told of the key of roots, where that is in Cloud KMS."
  value = !local.roots || !local.signs ? {} : {
    RECEIPT_ROOT_KMS_KEY = try(module.signing[0].root_version, "projects/${local.project}/locations/${local.region}/keyRings/${var.name}/cryptoKeys/roots/cryptoKeyVersions/1")
  }
}

output "secrets" {
  description = "Of each function, erlmcp and taiea, and of webhook, the id of each of its secrets by its name."
  value = { for function, names in { erlmcp = local.secrets, taiea = local.taiea_secrets, webhook = local.webhook_secrets } : function =>
    { for n in names : n => try(module.secrets[0].ids[n], "${var.name}-${n}") }
  }
}

output "settings" {
  description = "What both functions are told, wherever they run."
  value = merge({ FIRESTORE_DATABASE = join(",", local.serves), GOOGLE_CLOUD_PROJECT = local.project },
    var.backups == null ? {} : { BACKUP_PLACE = try(module.backup[0].place, "gs://${coalesce(var.backups.project, local.project)}-${var.name}-backups/${var.name}") },
    !local.roots ? {} : { RECEIPT_ROOTS_SINCE = var.receipts.roots_since },
    !local.signs ? {} : {
      RECEIPT_KMS_KEY = try(module.signing[0].version, "projects/${local.project}/locations/${local.region}/keyRings/${var.name}/cryptoKeys/receipts/cryptoKeyVersions/${var.receipts.key_version}")
  })
}
