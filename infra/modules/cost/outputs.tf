output "table" {
  description = "USD, rounded to cents: idle a month, for a million calls, and for a release, each with its parts and their sum. Parts below half a cent are left out."
  value = { for name, parts in { idle_month = local.idle, million_calls = local.million, release = local.release } :
    name => merge({ for k, v in parts : k => floor(v * 100 + 0.5) / 100 if v >= 0.005 }, { total = floor(sum(values(parts)) * 100 + 0.5) / 100 })
  }
}
