"""A node of the hospital's network: studies come in by DICOM, results go back to the archive.

    settings, rules ── store, outbox ── receiving ── working ── sending ── service

`settings` holds addresses and limits, `rules` which studies are taken and what is returned, `store` the list of
studies in SQLite and `outbox` that of results on their way, `receiving` takes objects from the network, `working` runs
`segment` in processes of its own, `sending` brings results to the archive until they are stored there, `service` puts
these together. Needs the extra `node`; never torch.
"""
