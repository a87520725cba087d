//! All messages of a transaction are there, or none, as the application decided.

use crate::checker::{
    History, Replica, Report, Resolve, Violation,
    history::{Transaction, TransactionMessage},
    replica::Places,
};

pub(crate) fn check(history: &History, replicas: &[Replica], report: &mut Report) {
    let indexed: Vec<_> = replicas
        .iter()
        .map(|replica| (replica.node, replica.places()))
        .collect();
    for transaction in &history.transactions {
        if transaction.resolved == Resolve::Contradicted {
            report.add(Violation::TornTransaction, || {
                format!(
                    "{}, which the application decided as {:?}, has the opposite verdict",
                    transaction.id, transaction.decision
                )
            });
        }
        presence(transaction, &indexed, report);
    }
}

fn presence(transaction: &Transaction, replicas: &[(u64, Places<'_>)], report: &mut Report) {
    let messages = &transaction.messages;
    let count = |places: &Places<'_>| {
        let is_there = |message: &&TransactionMessage| places.contains_key(message.id.as_str());
        messages.iter().filter(is_there).count()
    };
    let torn = replicas
        .iter()
        .map(|(node, places)| (*node, count(places)))
        .find(|(_, present)| (1..messages.len()).contains(present));
    if let Some((node, present)) = torn {
        report.add(Violation::TornTransaction, || {
            format!(
                "{} has {present} of {} messages on {node}",
                transaction.id,
                messages.len()
            )
        });
    }
    if !transaction.is_owed() {
        return;
    }
    for message in messages {
        let lacking = replicas
            .iter()
            .filter(|(_, places)| !places.contains_key(message.id.as_str()));
        let lacking: Vec<_> = lacking.map(|(node, _)| *node).collect();
        if !lacking.is_empty() {
            report.add(Violation::Lost, || {
                format!(
                    "{} of committed transaction {} is not on {lacking:?}",
                    message.id, transaction.id
                )
            });
        }
    }
}
